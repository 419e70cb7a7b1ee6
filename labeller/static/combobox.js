"use strict";
// A text field with a list of its possible values below: type a part, arrows move, Enter picks.
// The options stand in the page; data-more holds further words by which one is found.

export function makeCombobox(input, onPick) {
  const list = document.getElementById(input.getAttribute("aria-controls"));
  const options = [...list.children].map((element, order) => ({
    element,
    order,
    value: element.dataset.value,
    all: `${element.dataset.value} ${element.dataset.more ?? ""} ${element.textContent}`.toLowerCase(),
  }));
  let shown = [];
  let active = -1;

  function rank(option, words) {
    if (!words.every((word) => option.all.includes(word))) return 3;
    const value = option.value.toLowerCase();
    if (value.startsWith(words[0] ?? "")) return 0;
    return words.every((word) => value.includes(word)) ? 1 : 2;
  }

  function open() {
    const words = input.value.toLowerCase().split(/[\s_-]+/).filter(Boolean);
    const ranked = options.map((option) => ({ ...option, rank: rank(option, words) }));
    shown = ranked.filter((option) => option.rank < 3).sort((a, b) => a.rank - b.rank || a.order - b.order);
    list.replaceChildren(...shown.map((option) => option.element));
    list.hidden = !shown.length;
    activate(words.length && shown.length ? 0 : -1);
  }

  function close() {
    list.hidden = true;
    activate(-1);
  }

  function activate(index) {
    active = index;
    shown.forEach((option, at) => option.element.setAttribute("aria-selected", String(at === index)));
    input.setAttribute("aria-expanded", String(!list.hidden));
    input.setAttribute("aria-activedescendant", shown[index]?.element.id ?? "");
    shown[index]?.element.scrollIntoView({ block: "nearest" });
  }

  function move(step) {
    if (list.hidden) open();
    else activate((active + step + shown.length) % shown.length);
  }

  // Picking tells the page; whether the field is left then is the page's business.
  function choose(option) {
    close();
    onPick(option.value);
  }

  input.addEventListener("focus", open);
  input.addEventListener("input", open);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      move(event.key === "ArrowDown" ? 1 : -1);
    } else if (event.key === "Enter" && !list.hidden && active >= 0) {
      event.preventDefault();
      event.stopPropagation();
      choose(shown[active]);
    }
  });
  list.addEventListener("mousedown", (event) => {
    event.preventDefault(); // the field keeps the focus
    const option = shown.find((each) => each.element.contains(event.target));
    if (option) choose(option);
  });
}
