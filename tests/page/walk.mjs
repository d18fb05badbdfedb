// Walks the page of a running migration in headless Chromium: looks at it light, dark and
// on a phone, restarts a shard, cuts over by the keyboard, and goes back, if it is one of a `migrate --reverse`.
// Writes a screenshot of each. Nobody may write to either side by then.
//
//   node tests/page/walk.mjs http://127.0.0.1:27182 FOLDER
//
// Fetches its browser by npm into FOLDER. The last line says what failed.
import {execFileSync} from "node:child_process";
import {createRequire} from "node:module";
import {mkdirSync} from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";

const [url, folder] = process.argv.slice(2);
if (!folder) throw new Error("give the page's URL and a folder");
mkdirSync(folder, {recursive: true});
const out = path.resolve(folder);

async function browser() {
  const require = createRequire(path.join(out, "walk.js"));
  const load = async name => (await import(pathToFileURL(require.resolve(name)))).default;
  try {
    const prefix = ["--prefix", out, "--no-audit", "--no-fund", "--silent"];
    execFileSync("npm", ["install", ...prefix, "puppeteer-core@24", "@sparticuz/chromium@147"]);
    const [puppeteer, chromium] = [await load("puppeteer-core"), await load("@sparticuz/chromium")];
    const executablePath = await chromium.executablePath();
    return await puppeteer.launch({executablePath, headless: "shell", args: ["--no-sandbox", "--no-zygote", "--disable-gpu"],
      protocolTimeout: 900_000});
  } catch (e) {
    console.log("no browser can be had here, nothing was looked at: " + e.message.split("\n")[0]);
    process.exit(0);
  }
}

const wrong = [];
const expect = (holds, what) => { if (!holds) wrong.push(what); };
const pause = ms => new Promise(done => setTimeout(done, ms));
const chromium = await browser();

async function opened(width, scheme) {
  const page = await chromium.newPage();
  page.on("pageerror", e => wrong.push(String(e)));
  await page.setViewport({width, height: 900});
  await page.emulateMediaFeatures([{name: "prefers-color-scheme", value: scheme}]);
  await page.evaluateOnNewDocument(() => {
    window.shifted = 0;
    const add = list => list.getEntries().forEach(entry => { window.shifted += entry.value; });
    new PerformanceObserver(add).observe({type: "layout-shift", buffered: true});
  });
  await page.goto(url);
  await page.waitForSelector("main.known", {timeout: 60_000});
  return page;
}

async function looksRight(way) {
  for (const [name, width, scheme] of [["light", 1280, "light"], ["dark", 1280, "dark"], ["phone", 390, "light"], ["phone-dark", 390, "dark"]]) {
    const page = await opened(width, scheme);
    await pause(4_000);
    const [wide, shifted] = await page.evaluate(() => [document.documentElement.scrollWidth, window.shifted]);
    expect(wide <= width, `${way}-${name}: ${wide} of ${width} pixels wide`);
    expect(shifted < 0.1, `${way}-${name}: the layout shifted by ${shifted}`);
    await page.screenshot({path: path.join(out, `${way}-${name}.png`), fullPage: true});
    if (width < 1280) {
      const dialogs = [["#prepare", "d-cutover"], ["#cancel", "d-cancel"], ...way === "there" ? [[".again", "d-restart"]] : []];
      for (const [open, dialog] of dialogs) {
        await page.click(open);
        await pause(1_000);
        const box = await page.$eval("#" + dialog, node => [node.getBoundingClientRect().width, node.scrollWidth - node.clientWidth]);
        expect(box[0] <= width && box[1] <= 0, `${way}-${name}: ${dialog} is too wide: ${box}`);
        await page.screenshot({path: path.join(out, `${way}-${name}-${dialog}.png`)});
        await page.keyboard.press("Escape");
      }
    }
    await page.close();
  }
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

const noted = (page, text) => page.waitForFunction(text => document.getElementById("notes").textContent.includes(text), {timeout: 60_000}, text);

// By the keyboard alone, with a word that is typed in two parts.
async function cutsOver(page, way, word) {
  const off = () => page.$eval("#b-cutover", button => button.disabled);
  await page.waitForSelector("#prepare.go", {timeout: 600_000});
  await page.focus("#prepare");
  await page.keyboard.press("Enter");
  await page.type("#i-cutover", word.slice(0, -1));
  expect(await off(), `${way}: a word half typed confirms`);
  await page.keyboard.press("Enter");
  await page.screenshot({path: path.join(out, way + "-prepare.png")});
  await page.waitForFunction(() => [...document.querySelectorAll(".gap")].every(gap => gap.classList.contains("zero")), {timeout: 600_000});
  await page.type("#i-cutover", word.slice(-1));
  expect(!await off(), `${way}: the word does not confirm`);
  const calledOff = await page.evaluate(() => now.cutovers_given_up);
  await page.keyboard.press("Enter");
  const over = (back, before) => ["done", "failed"].includes(now.phase) || now.cutovers_given_up > before || (now.reverse === "running") !== back;
  await page.waitForFunction(over, {timeout: 600_000}, way === "back", calledOff);
  const notes = await page.$eval("#notes", node => node.textContent);
  expect(await page.evaluate(before => now.phase !== "failed" && now.cutovers_given_up === before, calledOff), `${way}: no cutover: ${notes}`);
  expect((await page.$$("dialog[open]")).length === 0, `${way}: the dialog is open again`);
  await page.screenshot({path: path.join(out, way + "-done.png"), fullPage: true});
}

await looksRight("there");
const page = await opened(1280, "light");
const reached = await tabs(page);
expect(String(reached).startsWith("prepare,") && reached.indexOf("pause") < reached.indexOf("cancel") && reached.indexOf("cancel") < reached.indexOf("i-copy"),
  "the Tab key goes to " + reached);
await page.type("#i-copy", "50");
await page.keyboard.press("Enter");
await noted(page, "at most 50 MiB/s copied");
await page.$eval("#i-copy", input => { input.value = ""; input.form.requestSubmit(); });
await page.waitForFunction(() => !document.getElementById("notes").textContent.includes("MiB/s copied"), {timeout: 60_000});
await page.$eval("#i-copy", input => input.blur());
const told = await page.evaluate(() => [document.querySelectorAll("#changes li").length, document.getElementById("lines").textContent]);
expect(told[0] >= 3 && told[1].includes("phase: "), "what happened is not told: " + told[0] + " changes");
await page.click(".again");
await page.type("#i-restart", "restart");
await page.keyboard.press("Enter");
await page.waitForFunction(() => now.phases.some(change => change.why.includes("copied again")), {timeout: 60_000});
const wanted = await page.evaluate(() => now.reverse === "wanted");
await cutsOver(page, "there", "cut over");
if (wanted && !wrong.length) {
  await noted(page, "Way back: ");
  await page.waitForSelector("#prepare.go", {timeout: 600_000});
  await looksRight("back");
  await cutsOver(page, "back", "go back");
}
await chromium.close();
console.log(JSON.stringify({wrong}));
process.exit(wrong.length ? 1 : 0);
