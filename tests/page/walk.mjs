// Walks the page of a running migration in headless Chromium: looks at it light, dark and
// on a phone, reads what happened, extends its time, restarts a shard, cuts over by the keyboard, and goes back, if it is
// one of a `migrate --reverse`. Then it looks at the run's report. Writes a screenshot of each. Nobody may write to
// either side by then.
//
//   node tests/page/walk.mjs http://127.0.0.1:27182 FOLDER [REPORT.html] [--block-writes] [--installed]
//   node tests/page/walk.mjs http://127.0.0.1:27182 FOLDER --rehearse [--installed]
//   node tests/page/walk.mjs --install
//
// --rehearse is for a run of two shards that copies slowly, is paused, and asks for the token in SHARDLIFT_API_TOKEN
// (`rehearse.mjs`); it is cancelled at the end. --block-writes: servers of 6.0, which refuse users' writes as it goes back.
// With --installed the browser is only looked for in shardlift's cache, else it is fetched. The last line says what failed,
// or that there is no browser.
import {existsSync, mkdirSync, readFileSync} from "node:fs";
import path from "node:path";
import {pathToFileURL} from "node:url";
import {browser} from "./browser.mjs";
import {expect, extendsTime, looksRight, noted, opened, pause, shot, throttle, walk, wrong} from "./look.mjs";
import {rehearses} from "./rehearse.mjs";

const [url, folder, report] = process.argv.slice(2).filter(word => !word.startsWith("--"));
const [install, installed, rehearse, blocks] = ["--install", "--installed", "--rehearse", "--block-writes"].map(flag => process.argv.includes(flag));
if (!folder && !install) throw new Error("give the page's URL and a folder");

const chromium = await browser(!installed);
if (!chromium || install) {
  await chromium?.close();
  process.exit(0);
}
Object.assign(walk, {url, chromium, out: path.resolve(folder)});
mkdirSync(walk.out, {recursive: true});

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

// With the word typed: while a shard is behind it takes a block of users' writes, and the page says so.
async function needsNoGap(page, way) {
  const seen = await page.evaluate(() => {
    const is = now, box = document.getElementById("i-block");
    const look = (lag_ms, block) => {
      box.checked = block;
      show({...is, can_cutover: true, pairs: is.pairs.map(pair => ({...pair, lag_ms}))});
      return [document.getElementById("b-cutover").disabled, document.getElementById("why-not").textContent];
    };
    const seen = [look(65_000, false), look(1_000, false), look(65_000, true), look(999, false)];
    show(is);
    return seen;
  });
  const [[far, why], [near], [blocked], [even, nothing]] = seen;
  expect(far && why.includes("is 1:05") && near && !blocked && !even && !nothing, `${way}: what a gap does: ${JSON.stringify(seen)}`);
}

// By the keyboard alone, with a word that is typed in two parts.
async function cutsOver(page, way, word) {
  const off = () => page.$eval("#b-cutover", button => button.disabled);
  await page.waitForSelector("#prepare.go");
  await page.focus("#prepare");
  await page.keyboard.press("Enter");
  await page.type("#i-cutover", word.slice(0, -1));
  expect(await off(), `${way}: a word half typed confirms`);
  await page.keyboard.press("Enter");
  await shot(page, way + "-prepare", false);
  await page.waitForFunction(() => [...document.querySelectorAll(".gap")].every(gap => gap.classList.contains("zero")));
  await page.type("#i-cutover", word.slice(-1));
  expect(!await off(), `${way}: the word does not confirm`);
  await needsNoGap(page, way);
  if (blocks && way === "back") {
    await page.focus("#i-block");
    await page.keyboard.press("Space");
    expect(await page.$eval("#i-block", box => box.checked) && !await off(), "the block of writes is not chosen");
    await page.focus("#i-cutover");
  }
  const calledOff = await page.evaluate(() => now.cutovers_given_up);
  await page.keyboard.press("Enter");
  const over = (back, before) => ["done", "failed"].includes(now.phase) || now.cutovers_given_up > before || (now.reverse === "running") !== back;
  await page.waitForFunction(over, {}, way === "back", calledOff);
  const notes = await page.$eval("#notes", node => node.textContent);
  expect(await page.evaluate(before => now.phase !== "failed" && now.cutovers_given_up === before, calledOff), `${way}: no cutover: ${notes}`);
  expect((await page.$$("dialog[open]")).length === 0, `${way}: the dialog is open again`);
  await shot(page, way + "-done");
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
  await shot(page, "there-restarted");
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
    await shot(page, `report-${ways.indexOf(way)}`);
  }
}

async function walked() {
  const page = await opened(1280, "light");
  await page.waitForSelector(".again:enabled");
  await looksRight("there", true);
  const reached = await tabs(page);
  expect(String(reached).startsWith("prepare,") && reached.indexOf("pause") < reached.indexOf("cancel") && reached.indexOf("cancel") < reached.indexOf("i-copy"),
    "the Tab key goes to " + reached);
  await tellsWhatHappened(page);
  await extendsTime(page, "there");
  await restarts(page);
  const wanted = await page.evaluate(() => now.reverse === "wanted");
  await cutsOver(page, "there", "cut over");
  if (wrong.length) return;
  if (!wanted) return report && reports(["The migration"]);
  await noted(page, "Way back: ");
  await page.waitForSelector("#prepare.go");
  await looksRight("back", false);
  await cutsOver(page, "back", "go back");
  if (report) await reports(["The migration", "The way back"]);
}

await (rehearse ? rehearses(process.env.SHARDLIFT_API_TOKEN) : walked()).catch(e => wrong.push(e.stack));
await chromium.close();
console.log(JSON.stringify({wrong}));
process.exit(wrong.length ? 1 : 0);
