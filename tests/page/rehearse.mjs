// A rehearsal on the page of a migration between two clusters that copies slowly, is paused as the walk begins, and asks
// for its token: goes on, looks at the plots while both shards copy, pauses, goes on, extends its time, cancels.
import {expect, extendsTime, looksRight, noted, opened, pause, shot, throttle} from "./look.mjs";

// Nothing is done without it; a wrong one is asked for again.
async function asksForToken(page, token) {
  for (const given of ["not-the-token-at-all", token]) {
    await page.click("#pause");
    await page.waitForSelector("#d-token[open]");
    expect(await page.$eval("#i-token", input => input.value === "" && input.type === "password"), "the token can be read");
    await shot(page, "rehearsal-token", false);
    await page.type("#i-token", given);
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => !document.getElementById("d-token").open);
  }
  // The next two looks at the status.
  await pause(2_500);
  expect(await page.evaluate(() => now.phase === "paused"), "it went on without a token");
}

async function goesOn(page) {
  await page.click("#pause");
  await page.waitForFunction(() => !["paused", "recovering"].includes(now.phase) && document.getElementById("pause").textContent === "Pause");
}

// A bar and a line in each plot for each of two shards.
async function plotsBothShards(page) {
  const plotted = () => {
    const heights = line => new Set(line.getAttribute("points").split(" ").map(point => point.split(",")[1])).size;
    const plots = [...document.querySelectorAll("#plots figure")].map(figure => [...figure.querySelectorAll("polyline")]);
    const bars = [...document.querySelectorAll("#pairs .bar")].map(bar => Number(bar.getAttribute("aria-valuenow")));
    return now.phase === "copying" && bars.length === 2 && bars.every(done => 0 < done && done < 100)
      && plots.length === 4 && plots.every(lines => lines.length === 2) && plots[2].every(line => 1 < heights(line));
  };
  await page.waitForFunction(plotted);
  const colors = await page.$$eval("#plots figure:first-child polyline", lines => lines.map(line => getComputedStyle(line).stroke));
  expect(new Set(colors).size === 2, "the lines of both shards look alike: " + colors);
}

async function pauses(page) {
  await page.click("#pause");
  await noted(page, "Paused: from the page");
  await page.waitForFunction(() => document.getElementById("pause").textContent === "Resume" && document.querySelector("#phases .held"));
  expect(await page.$eval(".again", button => button.disabled), "a shard of a paused run may be restarted");
  const copied = () => page.evaluate(() => now.pairs.reduce((sum, pair) => sum + pair.bytes_done, 0));
  const before = await copied();
  await pause(2_500);
  expect(await copied() <= before, "a paused run copies on");
  await shot(page, "rehearsal-paused");
}

async function cancels(page) {
  const off = () => page.$eval("#b-cancel", button => button.disabled);
  await page.click("#cancel");
  await page.waitForSelector("#d-cancel[open]");
  await page.type("#i-cancel", "cance");
  expect(await off(), "a word half typed cancels");
  await page.keyboard.press("Enter");
  await page.type("#i-cancel", "l");
  expect(!await off(), "the word does not cancel");
  await shot(page, "rehearsal-cancel", false);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => isOver(now));
  const [phase, pressable] = await page.evaluate(() => [now.phase, ["prepare", "extend", "pause", "cancel"].filter(id => !document.getElementById(id).disabled)]);
  expect(phase === "cancelled" && !pressable.length, `after the cancel: ${phase}, to press: ${pressable}`);
  expect((await page.$$("dialog[open]")).length === 0, "a dialog is open after the cancel");
  await shot(page, "rehearsal-cancelled");
}

export async function rehearses(token) {
  const page = await opened(1280, "light");
  await page.waitForFunction(() => now.phase === "paused" && document.getElementById("pause").textContent === "Resume");
  await asksForToken(page, token);
  await goesOn(page);
  await plotsBothShards(page);
  await looksRight("rehearsal", true);
  await pauses(page);
  await goesOn(page);
  await throttle(page, "");
  await page.waitForSelector("#prepare.go");
  await extendsTime(page, "rehearsal");
  await cancels(page);
}
