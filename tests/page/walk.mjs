// Walks the page of a running migration in headless Chromium: looks at it light, dark and
// on a phone, reads what happened, pauses, restarts a shard, cuts over by the keyboard, and goes back, if it is
// one of a `migrate --reverse`. Then it looks at the run's report. Writes a screenshot of each. Nobody may write to
// either side by then.
//
//   node tests/page/walk.mjs http://127.0.0.1:27182 FOLDER [REPORT.html] [--installed]
//   node tests/page/walk.mjs --install
//
// Its browser comes by npm once, into shardlift's cache; with --installed only from there. The last line says what
// failed, or that there is no browser.
import {execFileSync} from "node:child_process";
import {createRequire} from "node:module";
import {existsSync, mkdirSync, readFileSync} from "node:fs";
import {homedir} from "node:os";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [url, folder, report] = process.argv.slice(2).filter(word => !word.startsWith("--"));
const [install, installed] = ["--install", "--installed"].map(flag => process.argv.includes(flag));
if (!folder && !install) throw new Error("give the page's URL and a folder");

const {SHARDLIFT_CACHE, XDG_CACHE_HOME} = process.env;
const cache = path.join(SHARDLIFT_CACHE || path.join(XDG_CACHE_HOME || path.join(homedir(), ".cache"), "shardlift"), "browser");

async function browser() {
  const require = createRequire(path.join(cache, "walk.js"));
  const load = async name => (await import(pathToFileURL(require.resolve(name)))).default;
  const found = async () => [await load("puppeteer-core"), await load("@sparticuz/chromium")];
  const fetched = () => {
    mkdirSync(cache, {recursive: true});
    execFileSync("npm", ["install", "--prefix", cache, "--no-audit", "--no-fund", "--silent", "puppeteer-core@24", "@sparticuz/chromium@147"]);
    return found();
  };
  try {
    const [puppeteer, chromium] = await found().catch(e => { if (installed) throw e; return fetched(); });
    const executablePath = await chromium.executablePath();
    return await puppeteer.launch({executablePath, headless: "shell", args: ["--no-sandbox", "--no-zygote", "--disable-gpu"],
      pipe: true, timeout: 120_000, protocolTimeout: 900_000});
  } catch (e) {
    console.log("no browser can be had here, nothing was looked at: " + e.message.split("\n")[0]);
    process.exit(0);
  }
}

// A migration may have much to do until it is ready, on a slow machine.
const PATIENCE_MS = 300_000;
const wrong = [];
const expect = (holds, what) => { if (!holds) wrong.push(what); };
const pause = ms => new Promise(done => setTimeout(done, ms));
const chromium = await browser();
if (install) {
  await chromium.close();
  process.exit(0);
}
const out = path.resolve(folder);
mkdirSync(out, {recursive: true});

async function opened(width, scheme, address = url) {
  const page = await chromium.newPage();
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

async function looksRight(way) {
  const looks = [["light", 1280, "light"], ["dark", 1280, "dark"], ["phone", 390, "light"], ["phone-dark", 390, "dark"]];
  await Promise.all(looks.map(([name, width, scheme]) => looksRightIn(way, way + "-" + name, width, scheme)));
}

async function looksRightIn(way, name, width, scheme) {
  const page = await opened(width, scheme);
  const restarts = way === "there" ? [[".again", "d-restart"]] : [];
  await pause(3_500);
  const [wide, shifted] = await page.evaluate(() => [document.documentElement.scrollWidth, window.shifted]);
  expect(wide <= width, `${name}: ${wide} of ${width} pixels wide`);
  expect(shifted < 0.1, `${name}: the layout shifted by ${shifted}`);
  const broken = await page.$$eval("#changes .when", nodes => nodes.filter(node => 30 < node.offsetHeight).length);
  expect(!broken, `${name}: ${broken} times are on two lines`);
  await page.screenshot({path: path.join(out, name + ".png"), fullPage: true});
  for (const [open, dialog] of width < 1280 ? [["#prepare", "d-cutover"], ["#cancel", "d-cancel"], ...restarts] : []) {
    await page.click(open);
    await page.waitForSelector("dialog[open]");
    const box = await page.$eval("#" + dialog, node => [node.getBoundingClientRect().width, node.scrollWidth - node.clientWidth]);
    expect(box[0] <= width && box[1] <= 0, `${name}: ${dialog} is too wide: ${box}`);
    await page.screenshot({path: path.join(out, `${name}-${dialog}.png`)});
    await page.keyboard.press("Escape");
  }
  await page.close();
}

// The ids that the Tab key comes to, in order, from the top of the page.
async function tabs(page) {
  const ids = [];
  await page.evaluate(() => document.activeElement.blur());
  for (let i = 0; i < 12; i++) {
    await page.keyboard.press("Tab");
    const id = await page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
    if (ids.includes(id)) break;
    ids.push(id);
  }
  return ids;
}

const noted = (page, text) => page.waitForFunction(text => document.getElementById("notes").textContent.includes(text), {}, text);

// By the keyboard alone, with a word that is typed in two parts.
async function cutsOver(page, way, word) {
  const off = () => page.$eval("#b-cutover", button => button.disabled);
  await page.waitForSelector("#prepare.go");
  await page.focus("#prepare");
  await page.keyboard.press("Enter");
  await page.type("#i-cutover", word.slice(0, -1));
  expect(await off(), `${way}: a word half typed confirms`);
  await page.keyboard.press("Enter");
  await page.screenshot({path: path.join(out, way + "-prepare.png")});
  await page.waitForFunction(() => [...document.querySelectorAll(".gap")].every(gap => gap.classList.contains("zero")));
  await page.type("#i-cutover", word.slice(-1));
  expect(!await off(), `${way}: the word does not confirm`);
  const calledOff = await page.evaluate(() => now.cutovers_given_up);
  await page.keyboard.press("Enter");
  const over = (back, before) => ["done", "failed"].includes(now.phase) || now.cutovers_given_up > before || (now.reverse === "running") !== back;
  await page.waitForFunction(over, {}, way === "back", calledOff);
  const notes = await page.$eval("#notes", node => node.textContent);
  expect(await page.evaluate(before => now.phase !== "failed" && now.cutovers_given_up === before, calledOff), `${way}: no cutover: ${notes}`);
  expect((await page.$$("dialog[open]")).length === 0, `${way}: the dialog is open again`);
  await page.screenshot({path: path.join(out, way + "-done.png"), fullPage: true});
}

// Each change of phase with its reason, newest first; and the end of the log, which stays where somebody reads it.
async function tellsWhatHappened(page) {
  const [rows, phases] = await page.evaluate(() => [[...document.querySelectorAll("#changes li")].map(row => row.innerText),
    now.phases.map(change => [change.phase, change.why])]);
  expect(3 <= phases.length && rows.length === phases.length, `${rows.length} of ${phases.length} changes are told`);
  phases.reverse().forEach(([phase, why], i) => expect(rows[i]?.includes(phase) && rows[i].includes(why), `${phase}: ${why} is not told`));
  const log = () => page.$eval("#lines", node => [node.textContent, node.scrollTop, node.scrollHeight - node.clientHeight - node.scrollTop]);
  const logged = text => page.waitForFunction(text => document.getElementById("lines").textContent.includes(text), {}, text);
  await logged(" INFO ");
  expect((await log())[2] < 4, "the log is not at its end");
  await page.$eval("#lines", node => { node.scrollTop = 1; });
  await throttle(page, "50");
  await logged("at most 50 MiB/s copied");
  expect((await log())[1] === 1, "the log runs away from its reader");
  const lines = (await log())[0];
  await page.$eval("#lines", node => { node.scrollTop = node.scrollHeight; });
  await throttle(page, "");
  await page.waitForFunction(before => document.getElementById("lines").textContent !== before, {}, lines);
  expect((await log())[2] < 4, "the log does not go on to its end");
}

async function throttle(page, value) {
  await page.focus("#i-copy");
  await page.$eval("#i-copy", input => { input.value = ""; });
  await page.keyboard.type(value);
  await page.keyboard.press("Enter");
  await page.waitForFunction(is => document.getElementById("notes").textContent.includes("at most 50 MiB/s copied") === is, {}, value === "50");
  await page.$eval("#i-copy", input => input.blur());
}

async function pausesAndGoesOn(page) {
  await page.click("#pause");
  await noted(page, "Paused: ");
  await page.waitForFunction(() => document.getElementById("pause").textContent === "Resume" && document.querySelector("#phases .held"));
  expect(await page.$eval(".again", button => button.disabled), "a shard of a paused run may be restarted");
  await page.screenshot({path: path.join(out, "there-paused.png"), fullPage: true});
  await page.click("#pause");
  await page.waitForSelector("#prepare.go");
}

// By the keyboard alone. One dialog is closed, and the focus is where it was; the other is confirmed.
async function restarts(page) {
  const state = () => page.evaluate(() => ({open: document.getElementById("d-restart").open, off: document.getElementById("b-restart").disabled,
    shard: document.getElementById("restart-shard").textContent, focused: document.activeElement.getAttribute("aria-label") || document.activeElement.id}));
  const last = (await page.$$(".again")).at(-1);
  await last.focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("restar");
  const [name, open] = [await page.evaluate(() => now.pairs.at(-1).name), await state()];
  expect(open.open && open.off && open.focused === "i-restart" && name.startsWith(open.shard + " "), "the dialog of a restart: " + JSON.stringify(open));
  await page.keyboard.press("Enter");
  await page.keyboard.press("Escape");
  const closed = await state();
  expect(!closed.open && closed.focused === "Restart " + name, "after the dialog of a restart: " + JSON.stringify(closed));
  await page.keyboard.press("Enter");
  await page.keyboard.type("restart");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("changes").textContent.includes("copied again"));
  await page.screenshot({path: path.join(out, "there-restarted.png"), fullPage: true});
}

// Of each way that the run went, with nothing to press but which one.
async function reports(ways) {
  // It is written at each end.
  const is = text => text.includes("</html>") && /"before": ?\{/.test(text) === 1 < ways.length;
  while (!existsSync(report) || !is(readFileSync(report, "utf8"))) await pause(200);
  const page = await opened(390, "light", pathToFileURL(path.resolve(report)).href);
  const buttons = await page.$$eval("button", all => all.filter(button => button.checkVisibility()).map(button => button.textContent));
  expect(String(buttons) === String(1 < ways.length ? ways : []), "the report has buttons: " + buttons);
  for (const way of ways) {
    if (1 < ways.length) await page.click(`nav button:nth-child(${ways.indexOf(way) + 1})`);
    const [phase, head, settings, wide] = await page.evaluate(() => [now.phase, document.getElementById("h-state").textContent,
      document.getElementById("settings-list").children.length, document.documentElement.scrollWidth]);
    expect(phase === "done" && head.endsWith("way back") === (way === "The way back") && 20 < settings && wide <= 390,
      `the report of ${way}: ${phase}, ${head}, ${settings} settings, ${wide} pixels wide`);
    await page.screenshot({path: path.join(out, `report-${ways.indexOf(way)}.png`), fullPage: true});
  }
}

async function walked() {
  const page = await opened(1280, "light");
  await page.waitForSelector(".again:enabled");
  await looksRight("there");
  const reached = await tabs(page);
  expect(String(reached).startsWith("prepare,") && reached.indexOf("pause") < reached.indexOf("cancel") && reached.indexOf("cancel") < reached.indexOf("i-copy"),
    "the Tab key goes to " + reached);
  await tellsWhatHappened(page);
  await pausesAndGoesOn(page);
  await restarts(page);
  const wanted = await page.evaluate(() => now.reverse === "wanted");
  await cutsOver(page, "there", "cut over");
  if (wrong.length) return;
  if (!wanted) return report && reports(["The migration"]);
  await noted(page, "Way back: ");
  await page.waitForSelector("#prepare.go");
  await looksRight("back");
  await cutsOver(page, "back", "go back");
  if (report) await reports(["The migration", "The way back"]);
}

await walked().catch(e => wrong.push(e.stack));
await chromium.close();
console.log(JSON.stringify({wrong}));
process.exit(wrong.length ? 1 : 0);
