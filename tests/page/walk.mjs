// Walks the page of a running migration in headless Chromium: looks at it light, dark and
// on a phone, cuts over by the keyboard, and writes a screenshot of each. Nobody may write to
// the source by then.
//
//   node tests/page/walk.mjs http://127.0.0.1:27183 FOLDER
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

for (const [name, width, scheme] of [["light", 1280, "light"], ["dark", 1280, "dark"], ["phone", 390, "light"]]) {
  const page = await opened(width, scheme);
  await pause(4_000);
  const [wide, shifted] = await page.evaluate(() => [document.documentElement.scrollWidth, window.shifted]);
  expect(wide <= width, `${name}: ${wide} of ${width} pixels wide`);
  expect(shifted < 0.1, `${name}: the layout shifted by ${shifted}`);
  await page.screenshot({path: path.join(out, name + ".png"), fullPage: true});
  await page.close();
}

const page = await opened(1280, "light");
const off = id => page.$eval(id, button => button.disabled);
const noted = text => page.waitForFunction(text => document.getElementById("notes").textContent.includes(text), {timeout: 60_000}, text);
await page.type("#i-copy", "50");
await page.keyboard.press("Enter");
await noted("at most 50 MiB/s copied");
await page.$eval("#i-copy", input => { input.value = ""; input.form.requestSubmit(); });
await page.waitForFunction(() => !document.getElementById("notes").textContent.includes("MiB/s copied"), {timeout: 60_000});
await page.$eval("#i-copy", input => input.blur());
await page.waitForSelector("#prepare.go", {timeout: 600_000});
await page.focus("#prepare");
await page.keyboard.press("Enter");
await page.type("#i-cutover", "cut ove");
expect(await off("#b-cutover"), "a word half typed confirms");
await page.keyboard.press("Enter");
await page.screenshot({path: path.join(out, "prepare.png")});
await page.waitForFunction(() => [...document.querySelectorAll(".gap")].every(gap => gap.classList.contains("zero")), {timeout: 600_000});
await page.type("#i-cutover", "r");
expect(!await off("#b-cutover"), "the word does not confirm");
await page.keyboard.press("Enter");
const over = () => ["done", "failed"].includes(document.getElementById("phase").textContent)
  || document.getElementById("notes").textContent.includes("Last cutover");
await page.waitForFunction(over, {timeout: 600_000});
const phase = await page.$eval("#phase", node => node.textContent);
expect(phase === "done", "no cutover: " + await page.$eval("#notes", node => node.textContent));
expect((await page.$$("dialog[open]")).length === 0, "the dialog is open again");
await page.screenshot({path: path.join(out, "done.png"), fullPage: true});
await chromium.close();
console.log(JSON.stringify({wrong}));
process.exit(wrong.length ? 1 : 0);
