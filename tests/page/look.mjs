// How the walks look at a page and press what is on it.
import path from "node:path";

// A migration may have much to do until it is ready, on a slow machine.
const PATIENCE_MS = 300_000;

// Set once, by whoever walks.
export const walk = {url: "", out: "", chromium: null};
export const wrong = [];
export const expect = (holds, what) => { if (!holds) wrong.push(what); };
export const pause = ms => new Promise(done => setTimeout(done, ms));
export const shot = (page, name, whole = true) => page.screenshot({path: path.join(walk.out, name + ".png"), fullPage: whole});
export const noted = (page, text) => page.waitForFunction(text => document.getElementById("notes").textContent.includes(text), {}, text);

export async function opened(width, scheme, address = walk.url) {
  const page = await walk.chromium.newPage();
  page.on("pageerror", e => wrong.push(String(e)));
  page.setDefaultTimeout(PATIENCE_MS);
  await page.setViewport({width, height: 900});
  await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: scheme}]);
  await page.evaluateOnNewDocument(() => {
    window.shifted = 0;
    const add = list => list.getEntries().forEach(entry => { window.shifted += entry.value; });
    new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
  });
  await page.goto(address);
  await page.waitForSelector("main.known");
  return page;
}

// Light and dark, on a desk and on a phone. `restarts`: whether a shard may be restarted.
export async function looksRight(way, restarts) {
  const looks = [["light", 1280, "light"], ["dark", 1280, "dark"], ["phone", 390, "light"], ["phone-dark", 390, "dark"]];
  await Promise.all(looks.map(([name, width, scheme]) => looksRightIn(way + "-" + name, width, scheme, restarts)));
}

async function looksRightIn(name, width, scheme, restarts) {
  const page = await opened(width, scheme);
  const dialogs = [["#prepare", "d-cutover"], ["#cancel", "d-cancel"], ...restarts ? [[".again", "d-restart"]] : []];
  await pause(2_500);
  const [wide, shifted] = await page.evaluate(() => [document.documentElement.scrollWidth, window.shifted]);
  expect(wide <= width, `${name}: ${wide} of ${width} pixels wide`);
  expect(shifted < 0.1, `${name}: the layout shifted by ${shifted}`);
  const broken = await page.$$eval("#changes li > :first-child", nodes => nodes.filter(node => 30 < node.offsetHeight).length);
  expect(!broken, `${name}: ${broken} times are on two lines`);
  await shot(page, name);
  for (const [open, dialog] of width < 1280 ? dialogs : []) {
    await page.click(open);
    await page.waitForSelector("dialog[open]");
    const box = await page.$eval("#" + dialog, node => [node.getBoundingClientRect().width, node.scrollWidth - node.clientWidth]);
    expect(box[0] <= width && box[1] <= 0, `${name}: ${dialog} is too wide: ${box}`);
    await shot(page, `${name}-${dialog}`, false);
    await page.keyboard.press("Escape");
  }
  await page.close();
}

// Copying, in MiB/s; empty: no limit.
export async function throttle(page, value) {
  await page.focus("#i-copy");
  await page.$eval("#i-copy", input => { input.value = ""; });
  await page.keyboard.type(value);
  await page.keyboard.press("Enter");
  const told = value => {
    const notes = document.getElementById("notes").textContent;
    return value ? notes.includes(`at most ${value} MiB/s copied`) : !notes.includes("MiB/s copied");
  };
  await page.waitForFunction(told, {}, value);
  await page.$eval("#i-copy", input => input.blur());
}

// The cutover window, once it has begun.
export async function extendsTime(page, way) {
  await page.waitForSelector("#extend:enabled");
  const state = () => page.evaluate(() => [now.window_left_s, document.getElementById("window").textContent]);
  const [before, shown] = await state();
  await page.click("#extend");
  await page.waitForFunction(before => before + 23 * 3600 < now.window_left_s, {}, before);
  await page.waitForFunction(() => document.getElementById("said").textContent.includes("24 h"));
  const [after, shownAfter] = await state();
  expect(after <= before + 24 * 3600 && shown !== shownAfter, `${way}: extended from ${before} s (${shown}) to ${after} s (${shownAfter})`);
}
