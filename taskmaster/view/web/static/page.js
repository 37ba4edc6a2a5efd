// The page: asks for the status each second, and shows it. All of it is text; nothing that is shown is ever markup.

import { draw } from "./plot.js";
import { ask as askFor, onSteered } from "./steer.js";
import { at, brief, compact, copy, count, known, list, make, many, moment, put, sentence, span, speed, time } from "./words.js";

const SIGNS = {
  dot: "M8 1a7 7 0 1 0 0 14a7 7 0 0 0 0-14z",
  ring: "M8 1a7 7 0 1 0 0 14a7 7 0 0 0 0-14zm0 3a4 4 0 1 1 0 8a4 4 0 0 1 0-8z",
  half: "M8 1a7 7 0 1 0 0 14zm0 0a7 7 0 0 1 0 14v-2a5 5 0 0 0 0-10z",
  bars: "M3 2h4v12H3zM9 2h4v12H9z",
  square: "M2 2h12v12H2z",
  check: "M6.5 13.5L1 8l2-2l3.500 3.500L13 3l2 2z",
  cross: "M3 1l5 5l5-5l2 2l-5 5l5 5l-2 2l-5-5l-5 5l-2-2l5-5l-5-5z",
  warn: "M8 1l7 14H1zM7 6v5h2V6zM7 12v2h2v-2z",
};
const SLAVES_SHOWN = 40;
const EVERY = 1000, LONGEST = 10000, HISTORY_EVERY = { "10m": 5000, "6h": 15000, all: 60000 };
let wait = EVERY, timer = 0, latest = null, points = [], spanOf = "10m", historyAt = 0, busy = null, incarnation = null, restarted = null;
let asking = false, told = 0, sortOf = "", slavesAfter = 0, sorted = null;

// -- the state, in the first two lines -------------------------------------------------------------

function condition(s, page) {
  if (!s) return { word: page.trouble ? "the master does not answer" : "connecting", sign: "cross", tone: page.trouble ? "bad" : "held", why: page.trouble, gone: Boolean(page.trouble) };
  if (page.trouble && !page.over) return { word: `the master does not answer, since ${time(page.seen_at)}`, sign: "cross", tone: "bad", gone: true, why: "This is what it said last. The page goes on by itself." };
  const held = s.why_now.since_at && !["running", "resuming"].includes(s.state) ? page.now - s.why_now.since_at : 0;
  const why = sentence((s.why_now.sentence || s.reason || "") + (held >= 10 && s.state === "throttled" ? `, for ${span(held)}` : "")) + (s.why_now.cure ? ` ${s.why_now.cure}` : "");
  const failed = s.failed ? `, ${count(s.failed)} failed` : "";
  if (s.state === "finished") return { word: `finished${failed}`, sign: "check", tone: s.failed ? "held" : "good", why: `${many(s.settled, "job")} in ${span(s.elapsed)} of this session${failed}${exitCode(s)}.` };
  if (s.state === "stopped") return { word: "stopped", sign: "square", tone: !known(s.exit_code) || s.exit_code === 75 || s.exit_code > 128 ? "held" : "bad", why: `${why}${known(s.exit_code) ? ` Exit code ${s.exit_code}.` : ""} The command below goes on.`, command: page.resume };
  if (s.state === "ending") return { word: "ending: the last checkpoint", sign: "square", tone: "held", why };
  if (s.state === "draining" || s.why_now.code === "stopping") return { word: "stopping", sign: "square", tone: "held", why };
  if (s.why_now.code === "state") return { word: "paused: the state cannot be written", sign: "warn", tone: "bad", why };
  if (s.state === "paused" || s.state === "pausing") {
    const h = s.hold, by = h ? ` by ${h.by}` : "", until = h && h.until_at ? ` until ${moment(h.until_at, page.now)}` : "";
    return { word: `${s.state}${by}${until}`, sign: "bars", tone: "held", why: h ? paused(s, h, page) : why };
  }
  if (s.state === "throttled") return { word: "throttled", sign: "half", tone: "held", why };
  if (s.state === "resuming") return { word: "resuming", sign: "half", tone: "held", why };
  if (["slaves", "refused", "quiet"].includes(s.why_now.code)) return { word: "waiting for slaves", sign: "ring", tone: "held", why: s.why_now.code === "slaves" && page.slave_command ? "No slave is connected. Start one:" : why, command: s.why_now.code === "quiet" ? "" : page.slave_command };
  if (s.why_now.code === "source") return { word: "waiting for jobs", sign: "half", tone: "held", why };
  return { word: "running", sign: "dot", tone: "good", why };
}

const exitCode = (s) => (known(s.exit_code) ? `; exit code ${s.exit_code}` : "");

function paused(s, hold, page) {
  const running = Math.min(s.leased || 0, s.workers || 0), longest = (s.longest || [])[0];
  const slow = longest ? `, the longest (key ${longest.key} on ${longest.slave}) for ${span(longest.seconds)}` : "";
  const rest = running ? `${many(running, "job still runs", "jobs still run")}${slow}` : "no job runs";
  return `${hold.reason ? `“${hold.reason}” ` : ""}Since ${moment(hold.since_at, page.now)}; ${rest}.`;
}

function showState(s, page) {
  const found = condition(s, page);
  at("state").dataset.tone = found.tone;
  if (at("sign").getAttribute("d") !== SIGNS[found.sign]) at("sign").setAttribute("d", SIGNS[found.sign]);
  put("word", found.word);
  put("why", found.why || "");
  at("extra").hidden = !found.command;
  put("extra-command", found.command || "");
  document.body.classList.toggle("stale", Boolean(found.gone));
  const share = s ? shareOf(s) : null;
  const percent = share === null ? "" : `${Math.floor(100 * share)} % `;
  document.title = `${percent}${found.word} · ${s ? name(s.target) : "Taskmaster"}`;
  showButtons(s, page, Boolean(found.gone));
}

const shareOf = (s) => (known(s.share) ? s.share : s.total ? Math.min(1, s.settled / s.total) : null);

const name = (target) => String(target).split("/").at(-1);

function showButtons(s, page, gone) {
  const may = page.steers && s && !["ending", "finished", "stopped"].includes(s.state);
  at("bar").hidden = !may;
  const held = Boolean(s && (s.hold || s.state === "paused" || s.state === "pausing") && s.hold !== null);
  at("pause").hidden = held;
  at("resume").hidden = !held;
  for (const button of document.querySelectorAll("#bar button, .list button, #retry-all")) button.disabled = gone || button.getAttribute("aria-busy") === "true";
  if (s) put("rate", known(s.rate_limit) ? `Rate ${speed(s.rate_limit)}/s…` : "Rate…");
}

// -- progress and numbers --------------------------------------------------------------------------

function showProgress(s, page) {
  const bar = at("done"), share = shareOf(s);
  const over = s.state === "finished";
  put("percent", share === null ? count(s.settled) : `${(Math.floor(1000 * (over ? 1 : share)) / 10).toFixed(1)} %`);
  put("counts", share === null ? "jobs settled; how many there are is not known" : s.total ? `${count(s.settled)} of ${count(s.total)} jobs` : `${many(s.settled, "job")} settled`);
  if (share === null && !over) bar.removeAttribute("value");
  else bar.value = over ? 1000 : 1000 * share;
  put("left", over ? "" : timeLeft(s, page));
  const clock = s.clock || {}, heldBy = clock.held_seconds || s.held_seconds || {};
  const working = clock.working_seconds ?? s.working_seconds ?? s.working;
  const held = Object.values(heldBy).reduce((sum, one) => sum + one, 0);
  const reasons = Object.entries(heldBy).filter(([, seconds]) => seconds >= 1).map(([reason, seconds]) => `${reason} ${span(seconds)}`);
  put("times", `${span(s.elapsed)} in this session, ${span(working)} of it not paused` + (held >= 1 ? `; held back for ${span(held)} (${reasons.join(", ")})` : ""));
}

function timeLeft(s, page) {
  const d = s.eta_detail;
  if (d && known(d.seconds)) {
    const range = known(d.low) && known(d.high) && d.high > d.low * 1.05 ? `; ${span(d.low)} … ${span(d.high)}` : "";
    if (d.if_resumed) return `about ${span(d.seconds)} left once resumed${range}`;
    const held = s.state === "throttled" ? ", if it goes on as so far" : "";
    return `about ${span(d.seconds)} left (until ${moment(page.now + d.seconds, page.now)}${range})${held}`;
  }
  if (known(s.eta)) return `about ${span(s.eta)} left`;
  if (!s.settled) return "no job has been settled yet";
  return d && d.why ? `no time left is given: ${d.why}` : "";
}

function showNumbers(s) {
  const idle = ["paused", "finished", "stopped"].includes(s.state), rates = s.rates || {};
  put("speed", idle ? "0" : speed(rates["10s"] ?? s.rate));
  put("speed-more", known(rates["1m"]) ? `1 min: ${speed(rates["1m"])} · 10 min: ${speed(rates["10m"])}` : known(s.rate) && idle ? `before: ${speed(s.rate)}` : "over 10 s");
  put("failed", count(s.failed));
  const kinds = s.kinds || [];
  put("failed-more", kinds.length ? `in ${many(kinds.length + (s.kinds_left_out || 0), "kind")}` : s.settled && s.failed ? `${Number(((100 * s.failed) / s.settled).toPrecision(2))} % of the settled` : "");
  const budget = s.budget, bar = at("budget");
  bar.hidden = !budget;
  if (budget) {
    bar.value = Math.min(1, budget.used);
    put("failed-more", `${at("failed-more").textContent ? `${at("failed-more").textContent}; ` : ""}stops above ${budget.allows}`);
  }
  put("waiting", count(s.waiting));
  put("waiting-more", known(s.next_retry_seconds) ? `next in ${brief(s.next_retry_seconds)}` : s.retries ? `${many(s.retries, "retry", "retries")} so far` : "");
  put("queued", count(s.queued));
  put("queued-more", s.queue ? `of ${count(s.queue.most)}${s.source ? `; source: ${s.source.state}` : ""}` : "");
  put("leased", count(s.leased));
  put("leased-more", `${count(s.parked)} parked`);
  put("workers", count(s.workers));
  put("workers-more", `on ${many(s.slaves, "slave")}${known(s.workers_busy) ? `, ${count(s.workers_busy)} busy` : ""}`);
}

function showWhere(s, page) {
  const rows = [["Watermark", s.watermark || "none yet"]];
  if (known(s.watermark_age_seconds)) rows[0][1] += ` (${span(s.watermark_age_seconds)} ago)`;
  if (s.holder) rows.push(["Held by", `key ${s.holder.key}, ${brief(s.holder.seconds)}${s.holder.slave ? ` on ${s.holder.slave}` : ""}${s.holder.attempt > 1 ? `, attempt ${s.holder.attempt}` : ""}`]);
  else if (s.running) rows.push(["Longest job", `key ${s.running}, ${brief(s.running_for)} on ${s.running_on}`]);
  for (const one of (s.longest || []).slice(0, 3)) rows.push(["Longest job", `key ${one.key}, ${brief(one.seconds)} on ${one.slave}`]);
  if (s.checkpoint) rows.push(["Checkpoint", s.checkpoint.why ? `failing: ${s.checkpoint.why}` : `${span(s.checkpoint.age_seconds)} ago, took ${brief(s.checkpoint.took_seconds)}`]);
  const jobs = s.job_seconds;
  if (jobs && known(jobs.p50)) rows.push(["A job takes", `${brief(jobs.p50)} (95 % under ${brief(jobs.p95)})`]);
  rows.push(["Batch", s.batch ? `${many(s.batch, "job")}: ${s.batch_reason}` : "none yet"]);
  if (page.state_path) rows.push(["State", page.state_path]);
  rows.push(["Target", s.target], ["Run", s.run], ["Master", `${s.host || ""} ${s.pid ? `pid ${s.pid}, ` : ""}${s.address}, release ${s.release || "unknown"}`]);
  const place = at("where");
  while (place.children.length > 2 * rows.length) place.lastChild.remove();
  rows.forEach(([title, text], i) => {
    if (!place.children[2 * i]) place.append(make("dt"), make("dd"));
    put(place.children[2 * i], title);
    put(place.children[2 * i + 1], text);
  });
}

// -- lists -----------------------------------------------------------------------------------------

function showKinds(s, page) {
  const kinds = s.kinds || page.kinds || [];
  put("failures-count", s.failed ? `(${count(s.failed)})` : "");
  at("retry-all").hidden = !(page.steers && s.failed);
  put("no-kinds", !s.failed ? "No job has failed for good." : kinds.length ? "" : "`tm-ctl failures` lists them.");
  list(at("kinds"), kinds, (one) => `${one.type}\n${one.where}`, () => {
    const row = make("li"), line = make("div", "line"), words = make("div"), head = make("p"), more = make("p", "dim");
    const button = make("button", "", "Retry…");
    head.append(make("strong"), document.createTextNode(""));
    words.append(head, more);
    line.append(words, button);
    const fold = make("details");
    fold.append(make("summary", "", "Traceback"), make("pre"));
    row.append(line, fold);
    button.type = "button";
    button.addEventListener("click", () => retry(row.dataset.type, button));
    return row;
  }, (row, one) => {
    row.dataset.type = one.type;
    const head = row.querySelector("p");
    put(head.firstChild, `${count(one.count)} × ${one.type}`);
    put(head.lastChild, one.where ? `  ${one.where}` : "");
    put(row.querySelector(".dim"), `last ${moment(one.last_at, page.now)} · key ${one.key} · ${one.message || "no message"}`);
    const button = row.querySelector("button");
    button.hidden = !page.steers;
    button.setAttribute("aria-label", `Retry the jobs that failed with ${one.type}`);
    row.querySelector("details").hidden = !one.traceback;
    put(row.querySelector("pre"), one.traceback || "");
  });
}

function showSlaves(s, page) {
  const own = sortOf || slavesAfter ? sorted : null, rows = (own ? own.slaves : page.slaves) || [];
  const all = (own && own.known) || page.slaves_known || rows.length, before = page.slaves_gone_before || 0;
  put("slaves-count", s.slaves ? `(${count(s.slaves)})` : "");
  put("engine", sentence(s.engine));
  at("engine").hidden = !s.engine;
  const refused = !rows.length && page.refused && page.refused.slaves;
  put("no-slaves", refused ? "Which slaves there are is not known." : !rows.length ? "No slave is connected." : before ? `${count(before)} that went earlier are not listed any more.` : "");
  at("sort-row").hidden = all < 2;
  at("pages").hidden = all <= SLAVES_SHOWN;
  put("which", `${count(slavesAfter + 1)} to ${count(slavesAfter + rows.length)} of ${count(all)}`);
  at("earlier").disabled = !slavesAfter;
  at("later").disabled = slavesAfter + rows.length >= all;
  list(at("slaves"), rows, (one) => `${one.name} ${one.since_at}`, () => {
    const row = make("li"), line = make("div", "line"), words = make("div"), button = make("button", "", "Quiet…");
    button.type = "button";
    words.append(make("p"), make("p", "dim"), make("p", "dim"));
    line.append(words, button);
    row.append(line);
    words.firstChild.append(make("strong"), document.createTextNode(""));
    button.addEventListener("click", () => quiet(row.dataset.name, row.dataset.quiet === "yes", button));
    return row;
  }, (row, one) => {
    const [head, numbers, longest] = row.querySelectorAll("p"), gone = known(one.gone_at);
    row.dataset.name = one.name;
    row.dataset.quiet = one.state === "quiet" ? "yes" : "no";
    row.firstChild.classList.toggle("gone", gone);
    put(head.firstChild, one.name);
    put(head.lastChild, gone ? `  gone ${moment(one.gone_at, page.now)}: ${one.state}` : `  ${many(one.workers, "worker")}, ${one.state}`);
    put(numbers, `${gone ? "" : `${speed(one.rate)}/s · `}${many(one.done, "job")} done, ${many(one.failed, "failed attempt")}` + (known(one.busy_share) ? ` · ${Math.round(100 * one.busy_share)} % busy` : "") + (known(one.p50) ? ` · p50 ${brief(one.p50)}, p95 ${brief(one.p95)}` : ""));
    put(longest, one.longest && one.longest_seconds >= 1 ? `longest: key ${one.longest}, ${brief(one.longest_seconds)}` : "");
    longest.hidden = !longest.textContent;
    const button = row.querySelector("button");
    button.hidden = gone || !page.steers;
    put(button, one.state === "quiet" ? "Undo quiet…" : "Quiet…");
    button.setAttribute("aria-label", `${one.state === "quiet" ? "Give jobs again to" : "Quiet"} ${one.name}`);
  });
}

const who = (one) => (one.user ? (one.host ? `${one.user}@${one.host}` : one.user) : one.via);
const what = (one) => `${one.command}${one.before || one.after ? `: ${one.before || "–"} → ${one.after || "–"}` : ""}`;

function showTrail(page) {
  const rows = [...(page.trail || [])].reverse().slice(0, 12);
  list(at("trail"), rows, (one) => one.seq, (one) => {
    const row = make("li"), head = make("p");
    head.append(make("strong", "", moment(one.at, page.now)), document.createTextNode(`  ${who(one)}  ${what(one)}`));
    row.append(head);
    if (one.reason) row.append(make("p", "dim", `“${one.reason}”`));
    return row;
  }, () => {});
}

// -- the plot --------------------------------------------------------------------------------------

function plot() {
  const trail = latest && latest.page ? latest.page.trail || [] : [];
  const marks = trail.filter((one) => one.user || ["resumed", "started"].includes(one.command)).map((one) => [one.at, `${time(one.at)} ${who(one)}: ${what(one)}`]);
  if (restarted) marks.push([restarted, `restarted ${time(restarted)}`]);
  draw(at("plot"), points, marks);
  if (at("table-fold").open) table();
}

function table() {
  const rows = points.slice(-60).reverse(), body = at("rows");
  while (body.rows.length > rows.length) body.deleteRow(-1);
  rows.forEach((one, i) => {
    const row = body.rows[i] || body.insertRow();
    [time(one[0]), speed(one[1]), count(one[2]), one[3]].forEach((text, j) => put(row.cells[j] || row.insertCell(), text));
  });
}

async function history() {
  const span = spanOf;
  historyAt = Date.now();
  try {
    const answer = await (await asked(`api/v1/history?span=${span}`)).json();
    if (span !== spanOf) return;
    points = answer.points;
    plot();
  } catch { /* the status says what is wrong */ }
}

// The slaves in another order, or further ones: asked for only by who wants them.
async function sortSlaves() {
  if (!sortOf && !slavesAfter) { sorted = null; return; }
  const wanted = `sort=${sortOf}&after=${slavesAfter}`;
  try {
    const answer = await (await asked(`api/v1/slaves?${wanted}`)).json();
    if (wanted === `sort=${sortOf}&after=${slavesAfter}`) sorted = answer;
    if (!answer.slaves.length && slavesAfter) slavesAfter = 0;
  } catch { /* the status says what is wrong */ }
}

async function reordered() {
  await sortSlaves();
  if (latest && latest.run) showSlaves(latest, latest.page);
}

async function settings() {
  try {
    const rows = (await (await asked("api/v1/settings")).json()).settings, body = at("settings");
    while (body.rows.length > rows.length) body.deleteRow(-1);
    rows.forEach((one, i) => {
      const row = body.rows[i] || body.insertRow();
      [one.name, one.value, one.source + (one.by ? ` by ${one.by}` : "")].forEach((text, j) => put(row.cells[j] || row.insertCell(), String(text)));
    });
  } catch { /* the status says what is wrong */ }
}

// What the master does not give is no empty part: a reader would take it for none.
function showRefused(page) {
  const parts = Object.entries(page.refused || {}).map(([part, why]) => `${part} (${why})`);
  put("refused", parts.length ? `The master does not give what this page shows of: ${parts.join("; ")}.` : "");
  at("refused").hidden = !parts.length;
}

// -- asking ----------------------------------------------------------------------------------------

async function asked(path) {
  const response = await fetch(path, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(8000) });
  if (response.status === 401 || response.status === 403) throw Object.assign(new Error(await response.text()), { right: false });
  if (!response.ok) throw new Error(`The page's server answered ${response.status}.`);
  return response;
}

function show(answer) {
  const page = answer.page, s = answer.run ? answer : null;
  // An older master says it in three fields.
  if (s) s.why_now = s.why && typeof s.why === "object" ? s.why : { code: s.why, sentence: s.why_sentence, cure: s.cure };
  const master = s ? s.incarnation || s.pid : null;
  if (s && incarnation !== null && master !== incarnation) { restarted = page.now; points = []; historyAt = 0; }
  if (s) incarnation = master;
  latest = answer;
  if (s) {
    put("target", name(s.target));
    at("target").title = s.target;
    showProgress(s, page);
    showNumbers(s);
    showKinds(s, page);
    showSlaves(s, page);
    showWhere(s, page);
    showTrail(page);
    const command = s.resume || page.resume || "";
    put("resume-command", command);
    at("resume-copy").hidden = !command;
  }
  showRefused(page);
  showState(s, page);
  if (busy && (busy.done(answer) || Date.now() > busy.until)) {
    if (!busy.done(answer)) put("told", "Asked; not in force yet.");
    busy.button.removeAttribute("aria-busy");
    busy = null;
    showButtons(s, page, Boolean(page.trouble));
  }
  wait = page.over ? LONGEST : EVERY;
  put("foot", page.over ? "The run is over; the page stays as it is." : page.steers ? "" : page.readonly ? "This page only shows the run." : s ? "This address is for looking only." : "");
  at("again").hidden = true;
}

function missed(error) {
  const before = latest && latest.page;
  if (error.right === false) {
    showState(null, { trouble: "", now: Date.now() / 1000 });
    at("state").dataset.tone = "bad";
    put("word", "no right");
    put("why", error.message);
    put("foot", "");
  } else if (before && before.over) {
    wait = LONGEST;
    put("foot", "The run is over, and its page with it; this is how it ended.");
    return;
  } else {
    const s = latest && latest.run ? latest : null, since = before ? before.seen_at : 0;
    showState(s, { ...(before || {}), trouble: "The page's server does not answer.", seen_at: since, now: Date.now() / 1000 });
    if (!s) put("word", "the page's server does not answer");
  }
  wait = Math.min(LONGEST, wait * 1.5);
  put("foot", `${error.right === false ? "" : "No answer: the master may be gone, or a tunnel down. "}Asked again in ${Math.round(wait / 1000)} s.`);
  at("again").hidden = false;
}

async function turn() {
  if (asking) return;
  asking = true;
  clearTimeout(timer);
  try {
    if (!(latest && latest.page.over)) await sortSlaves();
    show(await (await asked("api/v1/status")).json());
    if (Date.now() - historyAt >= (points.length < 20 ? EVERY / 2 : HISTORY_EVERY[spanOf])) await history();
  } catch (error) {
    missed(error);
  } finally {
    asking = false;
    timer = setTimeout(turn, document.hidden ? Math.max(wait, LONGEST) : busy ? 200 : wait);
  }
}

// -- steering --------------------------------------------------------------------------------------

onSteered((asked_, answer) => {
  put("told", answer.say || "");
  clearTimeout(told);
  told = setTimeout(() => put("told", ""), 15000);
  if (asked_.button && asked_.done) {
    asked_.button.setAttribute("aria-busy", "true");
    asked_.button.disabled = true;
    busy = { button: asked_.button, done: asked_.done, until: Date.now() + 2000 };
  }
  historyAt = 0;
  turn();
});

const run = () => (latest && latest.run ? latest : {});
// With the run that is shown: another one may have taken its place by the time that somebody clicks.
const ask = (what) => askFor({ ...what, run: run().run });
at("pause").addEventListener("click", () => ask({
  title: "Pause the run", go: "Pause the run", command: "pause", button: at("pause"),
  text: `What runs now ends (${many(Math.min(run().leased || 0, run().workers || 0), "job")} at most); nothing new is handed out.`,
  field: { label: "For how long, such as 10m; empty: until it is resumed" },
  arguments: (field) => (field ? { for: field } : {}), done: (s) => Boolean(s.hold),
}));
at("resume").addEventListener("click", () => ask({
  title: "Resume the run", go: "Resume the run", command: "resume", text: "Jobs are handed out again.", button: at("resume"),
  arguments: () => ({}), done: (s) => !s.hold,
}));
at("rate").addEventListener("click", () => ask({
  title: "Set the rate", go: "Set the rate", command: "rate", text: "Most jobs a second, for all slaves together.", button: at("rate"),
  field: { label: "Jobs a second, such as 200 or 30/m; off; or default", first: true, required: true, value: known(run().rate_limit) ? String(run().rate_limit) : "" },
  arguments: (field) => ({ rate: field }), done: () => true,
}));
at("stop").addEventListener("click", () => {
  const target = name(run().target || ""), far = (latest.page.slaves || []).some((one) => !known(one.gone_at) && one.name.split(":")[0] !== run().host);
  ask({
    title: "Stop the run", go: "Stop the run", command: "stop", button: at("stop"),
    text: "Running jobs end, what has not begun is given back, and the run ends where it can go on. It is started again with the command that resumes it.",
    field: far ? { label: `Slaves on other machines wait for the next master, as long as their --wait says. Type ${target} to go on`, must: target, first: true } : null,
    check: "At once: do not wait for running jobs",
    arguments: (field, now) => (now ? { now: "yes" } : {}), done: (s) => s.state !== "running",
  });
});
at("retry-all").addEventListener("click", () => ask({
  title: "Retry all failed jobs", go: "Retry them", command: "retry", text: `${many(run().failed, "failed job")} go again, before anything new.`,
  arguments: () => ({ all: "yes" }),
}));
const retry = (type) => ask({ title: `Retry the jobs that failed with ${type}`, go: "Retry them", command: "retry", text: "They go again, before anything new.", arguments: () => ({ kind: type }) });
const quiet = (slave, undo) => ask({
  title: undo ? `Give jobs again to ${slave}` : `Quiet ${slave}`, go: undo ? "Give it jobs again" : "Quiet it", command: "quiet",
  text: undo ? "It gets jobs as the others do." : "It gets no more jobs, gives back what it has not begun, and ends when its jobs have ended.",
  check: undo ? null : "It stays connected, and idle",
  arguments: (field, stay) => ({ slave, ...(undo ? { undo: "yes" } : stay ? { stay: "yes" } : {}) }),
});

at("extra-copy").addEventListener("click", () => copy(at("extra-command").textContent, at("extra-copy")));
at("resume-copy").addEventListener("click", () => copy(at("resume-command").textContent, at("resume-copy")));
at("again").addEventListener("click", () => { wait = EVERY; turn(); });
at("table-fold").addEventListener("toggle", () => { if (at("table-fold").open) table(); });
at("settings-fold").addEventListener("toggle", () => { if (at("settings-fold").open) settings(); });
for (const button of document.querySelectorAll("[data-span]")) {
  button.addEventListener("click", () => {
    spanOf = button.dataset.span;
    for (const one of document.querySelectorAll("[data-span]")) one.setAttribute("aria-pressed", String(one === button));
    history();
  });
}
at("sort").addEventListener("change", () => { sortOf = at("sort").value; slavesAfter = 0; reordered(); });
at("earlier").addEventListener("click", () => { slavesAfter = Math.max(0, slavesAfter - SLAVES_SHOWN); reordered(); });
at("later").addEventListener("click", () => { slavesAfter += SLAVES_SHOWN; reordered(); });
addEventListener("resize", () => plot());
document.addEventListener("visibilitychange", () => { if (!document.hidden) turn(); });
turn();
