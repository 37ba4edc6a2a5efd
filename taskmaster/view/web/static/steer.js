// What an operator asks for: a dialog with a reason, one request, and the button busy until the status shows it.

import { at, put } from "./words.js";

const dialog = at("dialog");
let wanted = null, sent = { text: "", id: "" };
let after = () => {};

export const onSteered = (call) => { after = call; };

const remembered = () => { try { return localStorage.getItem("taskmaster-user") || ""; } catch { return ""; } };
const remember = (name) => { try { localStorage.setItem("taskmaster-user", name); } catch { /* the browser keeps nothing */ } };

// What: {title, text, go, command, run, arguments(field, checked), field: {label, value, must}, check, button}.
export function ask(what) {
  wanted = what;
  sent = { text: "", id: "" };
  put("dialog-title", what.title);
  put("dialog-text", what.text);
  put("go", what.go);
  put("dialog-error", "");
  at("field-row").hidden = !what.field;
  if (what.field) {
    put("field-label", what.field.label);
    at("field").value = what.field.value ?? "";
    at("field").required = Boolean(what.field.required);
  } else at("field").required = false;
  at("check-row").hidden = !what.check;
  at("check").checked = false;
  put("check-label", what.check ?? "");
  at("reason").value = "";
  at("user").value = remembered();
  at("go").disabled = false;
  dialog.showModal();
  (what.field && what.field.first ? at("field") : at("reason")).focus();
}

function number() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
}

async function send(event) {
  event.preventDefault();
  const what = wanted, field = at("field").value.trim();
  if (what.field && what.field.must && field !== what.field.must) {
    put("dialog-error", `Type ${what.field.must} to go on.`);
    at("field").focus();
    return;
  }
  const user = at("user").value.trim();
  remember(user);
  at("go").disabled = true;
  const request = { command: what.command, run: what.run || "", arguments: what.arguments(field, at("check").checked), reason: at("reason").value.trim(), user };
  // The same again, after an answer that was lost, is the same request to the master.
  const text = JSON.stringify(request);
  if (text !== sent.text) sent = { text, id: number() };
  request.id = sent.id;
  try {
    const response = await fetch("api/v1/steer", {
      method: "POST", credentials: "same-origin", signal: AbortSignal.timeout(10000),
      headers: { "Content-Type": "application/json", "X-Taskmaster": "1" }, body: JSON.stringify(request),
    });
    const said = await response.text();
    let answer = { ok: false, why: said };
    try { answer = JSON.parse(said); } catch { /* a sentence */ }
    if (!answer.ok) throw new Error(answer.why || `The server answered ${response.status}.`);
    dialog.close();
    after(what, answer);
  } catch (error) {
    put("dialog-error", error.name === "TimeoutError" ? "The master has not answered for 10 s. The same click again changes nothing twice." : String(error.message || error));
    at("go").disabled = false;
  }
}

at("form").addEventListener("submit", send);
at("cancel").addEventListener("click", () => dialog.close());
