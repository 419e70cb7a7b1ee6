"use strict";
// One session in the browser: keys, corrections, a draft that survives a reload, and saving.

import { makeCombobox } from "./combobox.js";

// Judging by keys. The keys are on the controls themselves (data-key), corrections appear when a
// part is marked wrong, every change is kept as a draft, and nothing is cleared before it is saved.

const form = document.getElementById("judgement");
const status = document.getElementById("status");

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

// The sessions judged in this tab, without the one on the screen; the newest last.
function judged() {
  const all = JSON.parse(sessionStorage.getItem("judged") ?? "[]");
  return all.filter((each) => each !== form?.dataset.transcript);
}

function optionsOf(list) {
  return new Map([...document.getElementById(list).children].map((each) => [each.dataset.value, each]));
}

// --- keys -----------------------------------------------------------------------------------------

function isTyping(element) {
  return element.matches("textarea, input:not([type=radio], [type=checkbox])");
}

// A letter with Shift is another key than without, whatever Caps Lock says.
function nameOf(event) {
  if (!/^[a-z]$/i.test(event.key)) return event.key;
  return event.shiftKey ? event.key.toUpperCase() : event.key.toLowerCase();
}

function controlFor(wanted) {
  return [...document.querySelectorAll(`[data-key="${CSS.escape(wanted)}"]`)].find(
    (control) => !control.disabled && control.getClientRects().length,
  );
}

function press(control) {
  if (isTyping(control)) return control.focus();
  if (control.matches("summary")) return openWords(control.parentElement);
  control.click();
  if (control.value === "false") goTo(control.name);
}

// To the field that corrects a part which was just marked wrong.
function goTo(name) {
  document.getElementById({ root_cause_correct: "root_cause", actions_correct: "action" }[name])?.focus();
}

function openWords(details) {
  details.open = true;
  details.querySelector("textarea").focus();
}

function onEnter(event) {
  const target = event.target;
  if (target.matches("textarea, a, button, summary")) return; // they know what Enter means
  event.preventDefault();
  if (isTyping(target)) return target.blur();
  if (form) return form.requestSubmit();
  const main = controlFor("Enter");
  if (main) main.click();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Enter") return onEnter(event);
  if (event.key === "Escape") return event.target.blur();
  if (isTyping(event.target)) return;
  const control = controlFor(nameOf(event));
  if (!control) return;
  event.preventDefault();
  press(control);
});

// --- one judgement --------------------------------------------------------------------------------

const ANSWER = ["severity", "root_cause", "actions"];
const PARTS = [...ANSWER, "tools"];
const WORDS = ["summary", "reasoning", "note"];

if (form) {
  const device = JSON.parse(form.dataset.device);
  const id = form.dataset.transcript;
  const draft = `bloxloop.draft.${id}`;
  const causes = optionsOf("causes");
  const choosable = optionsOf("choosable");
  let chosen = []; // texts of the chosen actions
  let saving = false;

  const action = document.getElementById("action");
  const field = (name) => form.elements[name];
  const radios = (name) => [...form.querySelectorAll(`input[type=radio][name="${name}"]`)];
  const picked = (name) => radios(name).find((radio) => radio.checked)?.value ?? null;
  const pick = (name, value) => radios(name).forEach((radio) => (radio.checked = radio.value === value));
  const canBeRight = (part) => radios(`${part}_correct`).some((radio) => radio.value === "true" && !radio.disabled);
  const judgeable = (part) => radios(`${part}_correct`).length > 0;
  const isLost = (part) => part === "actions" && device.actions === null;
  const isWrong = (part) => (judgeable(part) ? picked(`${part}_correct`) === "false" : !isLost(part));
  const isRight = (part) => (judgeable(part) ? picked(`${part}_correct`) === "true" : isLost(part));

  const isAllWrong = () => ANSWER.every((part) => isWrong(part) || isLost(part));

  // The parts follow the decision, and the decision follows the parts.
  function spread(decision) {
    const marked = decision === "partial" && !isAllWrong() ? PARTS.filter(isWrong) : [];
    for (const part of PARTS.filter(judgeable)) {
      const wrong = decision === "reject" ? part !== "tools" : marked.includes(part);
      pick(`${part}_correct`, String(!wrong && canBeRight(part)));
    }
  }

  function conclude() {
    for (const part of PARTS.filter(judgeable)) {
      if (picked(`${part}_correct`) === null) pick(`${part}_correct`, String(canBeRight(part)));
    }
    if (!PARTS.some(isWrong)) pick("decision", "accept");
    else pick("decision", isAllWrong() ? "reject" : "partial");
  }

  // What is asked beyond right or wrong.
  const asks = {
    severity: () => isWrong("severity"),
    root_cause: () => isWrong("root_cause") || (isRight("root_cause") && !device.root_cause),
    actions: () => isWrong("actions") || isLost("actions"),
  };

  function refresh() {
    for (const [part, isAsked] of Object.entries(asks)) {
      const place = form.querySelector(`.correction[data-of="${part}"]`);
      place.hidden = !isAsked();
      place.classList.toggle("completion", !isWrong(part));
    }
    const ask = form.querySelector("label[for=root_cause]");
    ask.textContent = isWrong("root_cause") ? ask.dataset.whenWrong : ask.dataset.whenRight;
    refreshCause();
    refreshActions();
    for (const counter of form.querySelectorAll(".counter")) {
      const length = field(counter.dataset.of).value.length;
      counter.textContent = length ? `${length} of ${counter.dataset.limit}` : "";
    }
  }

  function refreshCause() {
    const named = causes.get(field("root_cause").value.trim());
    document.getElementById("about-cause").textContent = named?.lastChild.textContent ?? "";
  }

  function refreshActions() {
    const list = document.getElementById("chosen");
    list.replaceChildren(...chosen.map(chip));
    if (chosen.length) field("no_action").checked = false;
  }

  function chip(text) {
    const item = document.createElement("li");
    const drop = document.createElement("button");
    item.classList.toggle("destructive", choosable.get(text).dataset.tier === "3");
    drop.type = "button";
    drop.textContent = "✕";
    drop.setAttribute("aria-label", `Remove ${text}`);
    drop.addEventListener("click", () => {
      chosen = chosen.filter((each) => each !== text);
      changed();
    });
    item.append(text, drop);
    return item;
  }

  function takeAction(text) {
    if (!choosable.has(text)) return;
    if (!chosen.includes(text)) chosen.push(text);
    action.value = "";
    action.blur();
    changed();
  }

  function takeCause(name) {
    field("root_cause").value = name;
    field("root_cause").blur();
    changed();
  }

  // --- drafts

  function read() {
    const state = { decision: picked("decision"), severity: picked("severity"), chosen };
    for (const part of PARTS) state[`${part}_correct`] = picked(`${part}_correct`);
    for (const name of ["root_cause", ...WORDS]) state[name] = field(name).value;
    state.action = action.value;
    state.no_action = field("no_action").checked;
    return state;
  }

  function write(state) {
    for (const name of ["decision", "severity", ...PARTS.map((part) => `${part}_correct`)]) {
      pick(name, state[name] ?? null);
    }
    for (const name of ["root_cause", ...WORDS]) field(name).value = state[name] ?? "";
    action.value = state.action ?? "";
    chosen = (state.chosen ?? []).filter((text) => choosable.has(text));
    field("no_action").checked = state.no_action ?? false;
    document.getElementById("words").open = WORDS.some((name) => field(name).value);
  }

  function fromLabel(label) {
    const state = { ...label, chosen: label.actions.map(textOf), no_action: !label.actions.length };
    for (const part of PARTS) state[`${part}_correct`] = String(label[`${part}_correct`]);
    return state;
  }

  function textOf(action) {
    return [action.name, ...Object.values(action.args)].join(" ");
  }

  function changed() {
    refresh();
    localStorage.setItem(draft, JSON.stringify(read()));
    say("draft kept");
  }

  // --- saving

  function collect() {
    const problems = {};
    const label = { transcript_id: id, decision: picked("decision") };
    for (const part of PARTS) label[`${part}_correct`] = isRight(part);
    label.severity = asks.severity() ? picked("severity") : device.severity;
    label.root_cause = asks.root_cause() ? field("root_cause").value.trim() : device.root_cause;
    label.actions = asks.actions()
      ? chosen.map((text) => JSON.parse(choosable.get(text).dataset.action))
      : device.actions;
    for (const name of WORDS) label[name] = field(name).value;

    if (!label.decision) problems.decision = "Choose 1, 2 or 3, or mark what is wrong.";
    else if (label.decision !== "accept" && !PARTS.some(isWrong)) {
      problems.decision = "Partly right means that something is wrong: mark it with s, c, a or t.";
    }
    if (asks.severity() && !label.severity) problems.severity = "Choose the severity it should be.";
    if (asks.root_cause() && !label.root_cause) problems.root_cause = "Choose a root cause of the vocabulary.";
    const half = action.value.trim();
    if (asks.actions() && half) problems.actions = `“${half}” is not chosen: pick an action from the list.`;
    else if (asks.actions() && !chosen.length && !field("no_action").checked) {
      problems.actions = "Choose an action, or say that nothing should be done.";
    }
    return { label, problems };
  }

  function show(problems) {
    const unplaced = [];
    for (const place of form.querySelectorAll(".problem")) place.hidden = true;
    for (const invalid of form.querySelectorAll("[aria-invalid]")) invalid.removeAttribute("aria-invalid");
    for (const [name, sentence] of Object.entries(problems)) {
      const place = document.getElementById(`problem-${name}`);
      if (place && isReachable(place)) tell(place, name, sentence);
      else unplaced.push(`${name}: ${sentence}`);
    }
    if (unplaced.length) tell(document.getElementById("problem-body"), "", unplaced.join(" "));
    form.querySelector(".problem:not([hidden])")?.scrollIntoView({ block: "nearest" });
    const first = form.querySelector("[aria-invalid]");
    if (first && isTyping(first)) first.focus();
  }

  function isReachable(place) {
    const words = place.closest("details");
    if (words) words.open = true;
    return !place.closest("[hidden]:not(.problem)");
  }

  function tell(place, name, sentence) {
    place.textContent = sentence;
    place.hidden = false;
    const input = name === "actions" ? action : document.getElementById(name);
    input?.setAttribute("aria-invalid", "true");
  }

  async function save() {
    if (saving) return;
    const { label, problems } = collect();
    show(problems);
    if (Object.keys(problems).length) return say("not saved yet", true);
    setSaving(true);
    say("saving…");
    try {
      const answer = await fetch("/api/labels", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(label),
      });
      if (answer.status === 201) return leave();
      refused(answer.status, await answer.json().catch(() => ({})));
    } catch (error) {
      say("not saved: the labeller does not answer. Your entries are kept; Enter tries again.", true);
    }
    setSaving(false);
  }

  function setSaving(now) {
    saving = now;
    document.getElementById("save").disabled = now;
  }

  function refused(code, answer) {
    show(answer.fields ?? {});
    const why = Object.keys(answer.fields ?? {}).length ? "see the marked fields" : (answer.detail ?? `answer ${code}`);
    say(`not saved: ${why}`, true);
  }

  function leave() {
    localStorage.removeItem(draft);
    sessionStorage.setItem("judged", JSON.stringify([...judged(), id].slice(-50)));
    sessionStorage.setItem("flash", "saved");
    window.location.assign(form.dataset.next);
  }

  // --- wiring

  makeCombobox(field("root_cause"), takeCause);
  makeCombobox(action, takeAction);

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    save();
  });

  form.addEventListener("change", (event) => {
    const { id: control, name, value, checked } = event.target;
    if (control === "action") takeAction(value.trim());
    if (name === "decision") spread(value);
    if (name.endsWith("_correct")) conclude();
    if (name === "no_action" && checked) chosen = [];
    changed();
    if (value === "false") goTo(name);
  });

  form.addEventListener("input", (event) => {
    if (isTyping(event.target)) changed();
  });

  document.getElementById("open-all").addEventListener("click", () => {
    const calls = [...document.querySelectorAll(".call")];
    const open = calls.some((call) => !call.open);
    for (const call of calls) call.open = open;
  });

  document.getElementById("open-help").addEventListener("click", () => {
    document.getElementById("help").showModal();
  });

  const kept = localStorage.getItem(draft);
  if (kept) write(JSON.parse(kept));
  else if (device.label) write(fromLabel(device.label));
  refresh();
  if (kept) say("draft restored");
  setSaving(false); // the button waits for this script
}

// --- back, and what the last page has to say ---------------------------------------------------------

const undo = document.getElementById("undo");
const last = judged().at(-1);
if (last) {
  undo.href = `/transcripts/${encodeURIComponent(last)}`;
  undo.hidden = false;
}

const flash = sessionStorage.getItem("flash");
if (flash) {
  sessionStorage.removeItem("flash");
  if (!status.textContent) say(flash);
}
