// What a line's text looks like: colours as its escape sequences have them, links, everything else text. Part of the script of a
// job's page, in front of `log.js`.

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

const SEQUENCE = /\x1b(?:\[([0-9;:]*)m|\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[()#%][ -~]|[ -~])?/g;
const LINK = /https?:\/\/[^\s<>"'`\\^{}|\x00-\x1f]+/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;

// What would move, hide or turn other text around is shown as a picture of itself.
const safe = (text) => text.replace(CONTROLS, (c) => {
  const code = c.charCodeAt(0);
  return code < 32 ? String.fromCharCode(0x2400 + code) : code === 127 ? "\u2421" : "\ufffd";
});

// --- Colours -----------------------------------------------------------------------------------------------------------
// A colour is a number of the sixteen that the style has, or exact: [red, green, blue].

function cube(n) {
  if (n >= 232) return Array(3).fill(8 + (n - 232) * 10);
  const level = (part) => (part ? 55 + part * 40 : 0);
  return [level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6)];
}

// 38;5;n and 38;2;r;g;b, with semicolons or colons: the colour and how many parameters it took.
function extended(codes, at) {
  if (codes[at] === 5) return [codes[at + 1] < 16 ? codes[at + 1] : cube(codes[at + 1] & 255), 2];
  if (codes[at] !== 2) return [null, 1];
  return [[1, 2, 3].map((part) => codes[at + part] & 255), 4];
}

function restyle(style, parameters) {
  const codes = parameters.replace(/(^|;)([34]8):2::?(\d+):(\d+):(\d+)/g, "$1$2;2;$3;$4;$5").split(/[;:]/).map(Number);
  for (let at = 0; at < codes.length; at++) {
    const code = codes[at];
    if (code === 0) style = {};
    else if (code <= 9) style = { ...style, [code]: true };
    else if (code >= 22 && code <= 29) style = { ...style, [code - 20]: false, ...(code === 22 ? { 1: false } : {}) };
    else if (code === 38 || code === 48) {
      const [colour, took] = extended(codes, at + 1);
      style = { ...style, [code === 38 ? "fg" : "bg"]: colour };
      at += took;
    } else if (code >= 30 && code <= 37) style = { ...style, fg: code - 30 };
    else if (code >= 90 && code <= 97) style = { ...style, fg: code - 82 };
    else if (code >= 40 && code <= 47) style = { ...style, bg: code - 40 };
    else if (code >= 100 && code <= 107) style = { ...style, bg: code - 92 };
    else if (code === 39) style = { ...style, fg: null };
    else if (code === 49) style = { ...style, bg: null };
  }
  return style;
}

// As WCAG has them: how light a colour is, and how well one is read on another.
function luminance(colour) {
  const [r, g, b] = colour.map((part) => (part <= 10 ? part / 3294.6 : ((part / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}
const READABLE = 4.5;
// The style's --panel.
const LIGHT_PAPER = [245, 247, 249], DARK_PAPER = [22, 28, 34];

// The one of the sixteen, which can be read on either paper. As row.rs has it.
function nearest(colour) {
  const most = Math.max(...colour), least = Math.min(...colour);
  if (most - least < 40) return most < 64 ? 0 : most < 150 ? 8 : most < 220 ? 7 : 15;
  const [r, g, b] = colour.map((part) => (part > least + (most - least) / 2 ? 1 : 0));
  return r + 2 * g + 4 * b + (most > 200 ? 8 : 0);
}

const rgb = (colour) => `rgb(${colour})`;

// An exact colour, where it can be read; it was chosen for another paper.
function onPaper(colour) {
  const [light, dark] = [LIGHT_PAPER, DARK_PAPER].map((paper) =>
    contrast(colour, paper) >= READABLE ? rgb(colour) : `var(--c${nearest(colour)})`);
  return light === dark ? light : `light-dark(${light},${dark})`;
}
// The ink on an exact background.
function onExact(paper, ink) {
  if (Array.isArray(ink) && contrast(ink, paper) >= READABLE) return rgb(ink);
  return contrast(paper, [0, 0, 0]) >= contrast(paper, [255, 255, 255]) ? "#000" : "#fff";
}

// --- Text --------------------------------------------------------------------------------------------------------------

function piece(text, style) {
  let { fg, bg } = style;
  if (style[7]) [fg, bg] = [bg ?? "paper", fg ?? "ink"];
  const names = [], exactly = {};
  for (const [code, name] of [[1, "bold"], [2, "dim"], [3, "it"], [4, "ul"], [9, "del"]]) if (style[code]) names.push(name);
  if (Array.isArray(bg)) {
    exactly["background-color"] = rgb(bg);
    exactly.color = onExact(bg, fg);
  } else {
    // The style's first and last show no background.
    const plain = bg === undefined || bg === null || bg === 0 || bg === 15;
    if (Array.isArray(fg) && plain) exactly.color = onPaper(fg);
    else if (Array.isArray(fg)) names.push("f-paper");
    else if (fg !== undefined && fg !== null) names.push(`f-${fg}`);
    if (bg !== undefined && bg !== null) names.push(`b-${bg}`);
  }
  const exact = Object.entries(exactly);
  if (!names.length && !exact.length) return document.createTextNode(text);
  const span = make("span", names.join(" "), text);
  for (const [property, colour] of exact) span.style.setProperty(property, colour);
  return span;
}

function linked(parent, text, style) {
  let last = 0;
  for (const found of text.matchAll(LINK)) {
    const href = found[0].replace(/[.,;:!?)\]]+$/, "");
    if (found.index > last) parent.append(piece(safe(text.slice(last, found.index)), style));
    const link = make("a");
    link.href = href;
    link.rel = "noopener noreferrer nofollow";
    link.target = "_blank";
    link.append(piece(safe(href), style));
    parent.append(link);
    last = found.index + href.length;
  }
  if (last < text.length) parent.append(piece(safe(text.slice(last)), style));
}

function drawText(parent, text) {
  let style = {}, last = 0;
  if (!text.includes("\x1b")) return linked(parent, text, style);
  for (const found of text.matchAll(SEQUENCE)) {
    if (found.index > last) linked(parent, text.slice(last, found.index), style);
    if (found[1] !== undefined) style = restyle(style, found[1]);
    last = found.index + found[0].length;
  }
  if (last < text.length) linked(parent, text.slice(last), style);
}

// What a group is called: what it prints, without colours.
const groupName = (text) => safe(text.replace(SEQUENCE, "")) || "Group";

// A long script's first lines, and a button for the others.
const SCRIPT = 5;
const wholeScripts = new Set(); // steps whose scripts are shown whole

function tellScript(head, lines) {
  const { fold: step } = head.firstChild.dataset, more = lines.length - SCRIPT, is = wholeScripts.has(step);
  for (const old of head.querySelectorAll(".script")) old.remove();
  const script = make("pre", "script", (is ? lines : lines.slice(0, SCRIPT)).join("\n"));
  if (more <= 0) return head.append(script);
  const button = head.querySelector(".more") ?? make("button", "more link");
  button.type = "button";
  button.textContent = is ? "Show less of the script" : `Show ${more} more ${more === 1 ? "line" : "lines"} of the script`;
  button.setAttribute("aria-expanded", is);
  button.onclick = () => {
    leave();
    change(() => {
      is ? wholeScripts.delete(step) : wholeScripts.add(step);
      tellScript(head, lines);
    }, head);
    update();
  };
  // Moved, it would lose the focus.
  if (button.parentNode !== head) head.append(button);
  button.before(script);
}
