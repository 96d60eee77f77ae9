// A job's log: any part of a log of any size, with the memory of what is in view. The page itself holds one window of lines
// and is complete without this; with it
//   - the log scrolls as one, its lines fetched by their numbers, a block at a time, the far ones forgotten again,
//   - it goes on live, resumed behind the last line whatever happens to the connection or the server,
//   - it is searched on the server; steps and groups fold; errors and warnings are stepped through; lines are linked to.
// Whatever a job printed gets into the page as text and never as markup.

const log = document.getElementById("log");
const scroller = log.querySelector(".lines");
const bar = log.querySelector(".bar");
const address = `/api/v1/jobs/${log.dataset.job}/log`;
const app = import(document.querySelector('script[src*="/assets/app."]').src);

const BLOCK = 200; // lines
const KEPT = 48; // blocks whose lines are remembered
const FETCHED = 2000; // lines a request

let total = 0, over = log.dataset.over === "true", loaded = false;
let open = []; // lines that have not ended
let heads = []; // where steps begin: {n: the line behind, step}
let marks = []; // errors and warnings: {n, kind, text}
let groups = []; // {n, end}: lines n+1..end fold
const foldedSteps = new Set(), foldedGroups = new Set();
let folds = []; // the hidden lines: [first, last], in order, apart from each other
let heights = []; // of blocks, measured or guessed
const cache = new Map(); // block -> its lines
const wanted = new Set(); // blocks being fetched
const shown = new Map(); // block -> its element
let target = null; // {n, align}: the line to come to, once it is there; to the center, the end, or so much of it above the view's top
let chosen = null; // [first, last]: the lines that the address names
let lineHeight = 19, headHeight = 28;
const before = make("div"), after = make("div");

function make(name, className, text) {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
const button = (name) => log.querySelector(`[data-do="${name}"]`);
const number = new Intl.NumberFormat();
const json = async (path) => {
  const answer = await fetch(address + path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.json();
};

// --- A line as it looks ------------------------------------------------------------------------------------------------

const SEQUENCE = /\x1b(?:\[([0-9;:]*)m|\[[0-?]*[ -/]*[@-~]|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?|[()#%][ -~]|[ -~])?/g;
const LINK = /https?:\/\/[^\s<>"'`\\^{}|\x00-\x1f]+/g;
const CONTROLS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069]/g;

// What would move, hide or turn other text around is shown as a picture of itself.
const safe = (text) => text.replace(CONTROLS, (c) => {
  const code = c.charCodeAt(0);
  return code < 32 ? String.fromCharCode(0x2400 + code) : code === 127 ? "\u2421" : "\ufffd";
});

function cube(n) {
  if (n >= 232) return Array(3).fill(8 + (n - 232) * 10).join();
  const level = (part) => (part ? 55 + part * 40 : 0);
  return [level(Math.floor((n - 16) / 36)), level(Math.floor((n - 16) / 6) % 6), level((n - 16) % 6)].join();
}

// 38;5;n and 38;2;r;g;b, with semicolons or colons: the colour and how many parameters it took.
function extended(codes, at) {
  if (codes[at] === 5) return [codes[at + 1] < 16 ? codes[at + 1] : cube(codes[at + 1] & 255), 2];
  if (codes[at] !== 2) return [null, 1];
  return [codes.slice(at + 1, at + 4).map((part) => part & 255).join(), 4];
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

function piece(text, style) {
  let { fg, bg } = style;
  if (style[7]) [fg, bg] = [bg ?? "paper", fg ?? "ink"];
  const names = [];
  for (const [code, name] of [[1, "bold"], [2, "dim"], [3, "it"], [4, "ul"], [9, "del"]]) if (style[code]) names.push(name);
  const named = (colour) => typeof colour === "number" || colour === "paper" || colour === "ink";
  if (named(fg)) names.push(`f-${fg}`);
  if (named(bg)) names.push(`b-${bg}`);
  const exactly = [["color", fg], ["background-color", bg]].filter(([, colour]) => typeof colour === "string" && !named(colour));
  if (!names.length && !exactly.length) return document.createTextNode(text);
  const span = make("span", names.join(" "), text);
  for (const [property, colour] of exactly) span.style.setProperty(property, `rgb(${colour})`);
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

function drawLine(line) {
  const row = make("div", "l");
  if (line.stream === "system") row.classList.add("sys");
  if (line.mark) row.classList.add(line.mark);
  const link = make("a", "n", line.n || "");
  row.append(link);
  if (line.n) {
    row.id = `L${line.n}`;
    link.href = `#L${line.n}`;
    row.classList.toggle("chosen", !!chosen && line.n >= chosen[0] && line.n <= chosen[1]);
    row.classList.toggle("found", found.lines.has(line.n));
  }
  row.dataset.time = line.time;
  if (line.step) row.dataset.step = line.step;
  if (times) row.append(make("span", "at", at(line.time)));
  if (line.mark === "group") {
    const fold = make("button", "fold", line.text || "Group");
    fold.type = "button";
    fold.dataset.group = line.n;
    fold.setAttribute("aria-expanded", !foldedGroups.has(line.n));
    row.append(fold);
    return row;
  }
  const text = make("span", "x");
  if (line.mark && line.mark !== "group" && !line.text.slice(0, 80).toLowerCase().includes(line.mark)) text.append(make("span", "word", `${line.mark} `));
  drawText(text, line.text);
  row.append(text);
  return row;
}

// A step's row stands in the page's table: its name, its status and its script are known from there.
function drawHead(step) {
  const known = document.getElementById(`step-${step}`);
  const head = make("div", "head");
  head.id = `S${step}`;
  const fold = make("button", "fold", known?.querySelector(".name")?.textContent ?? `Step ${step}`);
  fold.type = "button";
  fold.dataset.fold = step;
  fold.setAttribute("aria-expanded", !foldedSteps.has(step));
  head.append(fold);
  const status = known?.querySelector(".st");
  if (status) head.append(status.cloneNode(true));
  head.append(make("span", "quiet", known?.querySelector(".took")?.textContent ?? ""));
  const script = known?.querySelector("pre")?.textContent;
  if (script && !foldedSteps.has(step)) head.append(make("pre", "script", script));
  return head;
}

// --- Folds -------------------------------------------------------------------------------------------------------------

const stepEnd = (at) => (heads[at + 1] ? heads[at + 1].n - 1 : total);

function refold() {
  const hidden = [];
  heads.forEach(({ n, step }, at) => foldedSteps.has(step) && hidden.push([n, stepEnd(at)]));
  for (const group of groups) if (foldedGroups.has(group.n)) hidden.push([group.n + 1, group.end ?? total]);
  hidden.sort((a, b) => a[0] - b[0]);
  folds = [];
  for (const [first, last] of hidden) {
    if (last < first) continue;
    const previous = folds.at(-1);
    if (previous && first <= previous[1] + 1) previous[1] = Math.max(previous[1], last);
    else folds.push([first, last]);
  }
}

// The last fold that begins at or before a line.
function foldAt(n) {
  let low = 0, high = folds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (folds[middle][0] <= n) low = middle + 1;
    else high = middle;
  }
  return folds[low - 1];
}
const isHidden = (n) => (foldAt(n)?.[1] ?? 0) >= n;

function unfold(n) {
  if (!isHidden(n)) return;
  heads.forEach((head, at) => head.n <= n && n <= stepEnd(at) && foldedSteps.delete(head.step));
  for (const group of groups) if (group.n < n && n <= (group.end ?? total)) foldedGroups.delete(group.n);
  relayout();
}

// --- Blocks ------------------------------------------------------------------------------------------------------------

const blockOf = (n) => Math.floor((n - 1) / BLOCK);
const blockCount = () => blockOf(total + 1) + 1;
const firstOf = (block) => block * BLOCK + 1;
const lastOf = (block) => Math.min(total, (block + 1) * BLOCK);

function visibleLines(block) {
  const first = firstOf(block), last = lastOf(block);
  let count = last - first + 1;
  for (let at = folds.indexOf(foldAt(last)); at >= 0 && folds[at][1] >= first; at--)
    count -= Math.min(last, folds[at][1]) - Math.max(first, folds[at][0]) + 1;
  return Math.max(0, count);
}
const headsIn = (block) => heads.filter(({ n }) => blockOf(n) === block);

function guess(block) {
  let rows = visibleLines(block) * lineHeight;
  if (block === blockCount() - 1) rows += open.length * lineHeight;
  return rows;
}

// All heights anew: after folds, or when lines wrap otherwise.
function relayout() {
  refold();
  heights = Array.from({ length: blockCount() }, (_, block) => guess(block));
  for (const { n } of heads) heights[blockOf(n)] = (heights[blockOf(n)] ?? 0) + headHeight;
  for (const element of shown.values()) element.remove();
  shown.clear();
  update();
}

function offsetOf(block) {
  let offset = 0;
  for (let at = 0; at < block; at++) offset += heights[at];
  return offset;
}

function drawBlock(block) {
  const element = make("div", "block");
  element.dataset.block = block;
  const lines = cache.get(block);
  const last = lastOf(block), mine = headsIn(block);
  if (!lines || lines.length < last - firstOf(block) + 1) {
    element.classList.add("empty");
    element.style.setProperty("height", `${heights[block]}px`);
    return element;
  }
  cache.delete(block);
  cache.set(block, lines);
  let head = 0;
  const headsBefore = (n) => {
    while (head < mine.length && mine[head].n <= n) element.append(drawHead(mine[head++].step));
  };
  for (const line of lines) {
    headsBefore(line.n);
    if (line.mark !== "end-group" && !isHidden(line.n)) element.append(drawLine(line));
  }
  headsBefore(total + 1);
  if (block === blockCount() - 1) for (const line of open) element.append(drawLine(line));
  return element;
}

function forget() {
  for (const block of cache.keys()) {
    if (cache.size <= KEPT) return;
    if (!shown.has(block)) cache.delete(block);
  }
}

const stale = new Set(); // blocks to be drawn again

// Brings what is in view, and a screen around it, into the page; what is not, out of it.
function update() {
  if (!loaded) return;
  const count = blockCount();
  while (heights.length < count) heights.push(guess(heights.length));
  heights.length = count;
  const margin = scroller.clientHeight || 600;
  const top = scroller.scrollTop - margin, bottom = scroller.scrollTop + 2 * margin;
  const need = [];
  let offset = 0;
  for (let block = 0; block < count; block++) {
    const end = offset + heights[block];
    if (end > top && offset < bottom && (heights[block] > 0 || block === count - 1)) need.push(block);
    offset = end;
    if (offset > bottom && block > 0 && need.length) break;
  }
  if (!need.length) need.push(count - 1);
  const anchor = target ? null : anchorNow();
  for (const [block, element] of shown) {
    if (need[0] <= block && block <= need.at(-1) && !stale.has(block)) continue;
    element.remove();
    shown.delete(block);
  }
  stale.clear();
  let place = before.nextSibling;
  for (const block of need) {
    if (!shown.has(block)) {
      const element = drawBlock(block);
      scroller.insertBefore(element, place);
      shown.set(block, element);
    }
    place = shown.get(block).nextSibling;
  }
  for (const block of need) heights[block] = shown.get(block).getBoundingClientRect().height;
  before.style.setProperty("height", `${offsetOf(need[0])}px`);
  let rest = 0;
  for (let block = need.at(-1) + 1; block < count; block++) rest += heights[block];
  after.style.setProperty("height", `${rest}px`);
  if (target) come();
  else if (following) scroller.scrollTop = scroller.scrollHeight;
  else if (anchor?.element.isConnected) scroller.scrollTop += anchor.element.getBoundingClientRect().top - anchor.top;
  highlight();
  clearTimeout(fetchLater);
  fetchLater = setTimeout(() => fetchMissing(need), performance.now() - scrolledAt < 40 ? 40 : 0);
}
let fetchLater = 0, scrolledAt = -1000;

// What stands at the top of the view, to stay there.
function anchorNow() {
  const edge = scroller.getBoundingClientRect().top;
  for (const element of [...shown.values()].sort((a, b) => a.dataset.block - b.dataset.block)) {
    if (element.getBoundingClientRect().bottom <= edge) continue;
    const row = [...element.children].find((child) => child.getBoundingClientRect().bottom > edge) ?? element;
    const again = row.id ? { get element() { return document.getElementById(row.id) ?? row; } } : { element: row };
    return Object.assign(again, { top: row.getBoundingClientRect().top });
  }
  return null;
}

async function fetchMissing(blocks) {
  const missing = blocks.filter((block) => !wanted.has(block) && (cache.get(block)?.length ?? 0) < lastOf(block) - firstOf(block) + 1);
  while (missing.length) {
    const run = [missing.shift()];
    while (missing.length && missing[0] === run.at(-1) + 1 && run.length < FETCHED / BLOCK) run.push(missing.shift());
    run.forEach((block) => wanted.add(block));
    fetchLines(firstOf(run[0]), lastOf(run.at(-1))).catch(() => {}).finally(() => run.forEach((block) => wanted.delete(block)));
  }
}

async function fetchLines(from, to) {
  while (from <= to) {
    const { items } = await json(`/lines?from=${from}&count=${Math.min(FETCHED, to - from + 1)}`);
    if (!items.length) return;
    for (const line of items) keep(line);
    from = items.at(-1).n + 1;
  }
  forget();
  soon();
}

function keep(line) {
  const block = blockOf(line.n);
  let lines = cache.get(block);
  if (!lines) cache.set(block, (lines = []));
  if (line.n === firstOf(block) + lines.length) lines.push(line);
  stale.add(block);
}

let frame = 0;
function soon() {
  frame ||= requestAnimationFrame(() => {
    frame = 0;
    update();
  });
}

// --- Coming to a line --------------------------------------------------------------------------------------------------

function goTo(n, align = "center") {
  n = Math.max(1, Math.min(n, total));
  unfold(n);
  leave();
  target = { n, align };
  const block = blockOf(n);
  scroller.scrollTop = offsetOf(block) + (n - firstOf(block)) * lineHeight - scroller.clientHeight / 2;
  update();
}

function come() {
  const row = document.getElementById(`L${target.n}`);
  if (!row || !scroller.contains(row)) {
    const block = blockOf(target.n);
    const middle = offsetOf(block) + (target.n - firstOf(block)) * lineHeight;
    if (!shown.has(block)) {
      scroller.scrollTop = middle - scroller.clientHeight / 2;
      soon();
    }
    return;
  }
  const { top, height } = row.getBoundingClientRect(), view = scroller.getBoundingClientRect();
  const place = { center: (view.height - height) / 2, end: view.height - height - 24 }[target.align] ?? -target.align * height;
  scroller.scrollTop += top - view.top - place;
  // Where the page's own head takes the room, it gives way.
  if (row.getBoundingClientRect().bottom > innerHeight || row.getBoundingClientRect().top < 0) log.scrollIntoView();
  if ([...shown.values()].every((element) => !element.classList.contains("empty"))) target = null;
}

function choose(first, last) {
  chosen = first ? [Math.min(first, last), Math.max(first, last)] : null;
  for (const row of scroller.querySelectorAll(".l[id]")) {
    const n = Number(row.id.slice(1));
    row.classList.toggle("chosen", !!chosen && n >= chosen[0] && n <= chosen[1]);
  }
}

function fromAddress() {
  const named = /^#L(\d+)(?:-L?(\d+))?$/.exec(location.hash);
  if (!named) return false;
  const first = Number(named[1]), last = Number(named[2] ?? first);
  choose(first, last);
  goTo(first);
  return true;
}

// --- Following ---------------------------------------------------------------------------------------------------------

let following = false, leftAt = 0;
const jump = button("follow");

// What comes from now on is new.
function leave() {
  if (following) leftAt = total;
  following = false;
}

function showJump() {
  const fresh = total - leftAt;
  jump.hidden = following || over || !loaded;
  jump.textContent = fresh > 0 ? `${number.format(fresh)} new ${fresh === 1 ? "line" : "lines"} ↓` : "Follow ↓";
}

scroller.addEventListener("scroll", () => {
  scrolledAt = performance.now();
  const atEnd = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - 4;
  if (!atEnd && !target) leave();
  else if (!target) following = !over;
  showJump();
  soon();
}, { passive: true });
// Who scrolls by hand has come to where they want to be.
for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) scroller.addEventListener(kind, () => { target = null; }, { passive: true });

function toEnd() {
  following = !over;
  target = total && over ? { n: total, align: "end" } : null;
  scroller.scrollTop = scroller.scrollHeight;
  update();
  scroller.scrollTop = scroller.scrollHeight;
  showJump();
}

function tellTotal() {
  log.querySelector(".total").textContent = `${number.format(total)} ${total === 1 ? "line" : "lines"}`;
  scroller.toggleAttribute("data-nothing", !total);
  if (!total) scroller.dataset.nothing = over ? "Nothing was printed." : "Nothing was printed yet.";
}

function learn(mark) {
  const { n, kind } = mark;
  if (kind === "error" || kind === "warning") marks.push(mark);
  const last = groups.at(-1);
  if ((kind === "group" || kind === "end-group") && last && last.end === undefined) last.end = kind === "group" ? n - 1 : n;
  if (kind === "group") groups.push({ n });
}

function began(step, lines) {
  if (heads.some((head) => head.step === step)) return;
  const last = groups.at(-1);
  if (last && last.end === undefined) last.end = lines;
  heads.push({ n: lines + 1, step });
}

let refreshLater = 0;
function refreshPage() {
  clearTimeout(refreshLater);
  refreshLater = setTimeout(async () => (await app).refresh(), 250);
}

function follow(behind) {
  const source = new EventSource(`${address}/lines/stream?last_event_id=${behind}`);
  const offline = document.getElementById("offline");
  source.addEventListener("lines", (event) => {
    const data = JSON.parse(event.data);
    for (const line of data.lines) {
      // A line that is known was said again, and is not new.
      if (line.n !== total + 1) continue;
      total = line.n;
      keep(line);
      if (line.mark) learn({ n: line.n, kind: line.mark, text: line.text });
    }
    for (const { number: step, begins, lines } of data.steps ?? []) if (begins) began(step, lines);
    if (data.steps) refreshPage();
    open = data.open;
    stale.add(blockOf(total + 1));
    heights.length = Math.min(heights.length, blockOf(total + 1));
    if (folds.length) refold();
    forget();
    tellTotal();
    showMarks();
    showJump();
    soon();
  });
  source.addEventListener("end", (event) => {
    source.close();
    over = true;
    open = [];
    log.dataset.over = "true";
    stale.add(blockOf(total + 1));
    if (following) target = null;
    showJump();
    refreshPage();
    soon();
    event.preventDefault();
  });
  source.onopen = () => { offline.hidden = true; };
  source.onerror = () => {
    offline.hidden = false;
    // A refused connection is tried again by itself; an answer that is no stream (a proxy's 502) is not.
    if (source.readyState === EventSource.CLOSED && !over) setTimeout(() => follow(total), 2000);
  };
  addEventListener("pagehide", () => source.close());
}

// --- Errors and warnings -----------------------------------------------------------------------------------------------

let mark = -1;
function showMarks() {
  const errors = marks.filter(({ kind }) => kind === "error").length, warnings = marks.length - errors;
  const words = [errors && `${number.format(errors)} ${errors === 1 ? "error" : "errors"}`, warnings && `${number.format(warnings)} ${warnings === 1 ? "warning" : "warnings"}`];
  log.querySelector(".marks").hidden = !marks.length;
  log.querySelector(".marks .count").textContent = words.filter(Boolean).join(", ");
}
function stepMarks(by) {
  if (!marks.length) return;
  mark = (mark + by + marks.length + (mark < 0 && by < 0 ? 1 : 0)) % marks.length;
  const { n } = marks[mark];
  choose(n, n);
  goTo(n);
}

// --- Search ------------------------------------------------------------------------------------------------------------

const form = log.querySelector("form.find"), result = log.querySelector(".result");
let found = { text: "", count: 0, skipped: 0, list: [], lines: new Set(), at: -1 };

async function find(query) {
  const asked = form.elements.q.value;
  const answer = await json(`/search?q=${encodeURIComponent(asked)}&${query}`);
  if (asked !== form.elements.q.value) return false;
  found = { ...found, text: asked, count: answer.count, skipped: answer.skipped, list: answer.lines, lines: new Set(answer.lines) };
  return true;
}

function showFound() {
  const { text, count, at } = found;
  result.textContent = !text ? "" : count ? `${number.format(at + 1)} of ${number.format(count)}` : "nothing found";
  for (const name of ["next", "previous"]) button(name).disabled = !count;
}

async function search() {
  const text = form.elements.q.value;
  if (!text) {
    found = { text: "", count: 0, skipped: 0, list: [], lines: new Set(), at: -1 };
    showFound();
    relayout();
    return;
  }
  result.textContent = "searching";
  const row = [...scroller.querySelectorAll(".l[id]")].find((line) => line.getBoundingClientRect().bottom > scroller.getBoundingClientRect().top);
  const from = row ? Number(row.id.slice(1)) : 1;
  if (!(await find(`from=${from}`))) return;
  if (!found.list.length && found.count) await find("skip=0");
  found.at = found.skipped;
  come2();
}

// To the one whose turn it is.
function come2() {
  showFound();
  const n = found.list[found.at - found.skipped];
  for (const block of shown.keys()) stale.add(block);
  if (n) {
    choose(n, n);
    goTo(n);
  } else update();
}

async function stepFound(by) {
  if (form.elements.q.value !== found.text) return search();
  if (!found.count) return;
  found.at = (found.at + by + found.count) % found.count;
  if (found.list[found.at - found.skipped] === undefined) await find(`skip=${Math.max(0, found.at - (by < 0 ? 900 : 0))}`);
  come2();
}

function highlight() {
  if (!globalThis.Highlight || !CSS.highlights) return;
  const needle = found.text.toLowerCase(), ranges = [];
  for (const row of needle ? scroller.querySelectorAll(".l.found .x") : []) {
    const nodes = [], walker = document.createTreeWalker(row, NodeFilter.SHOW_TEXT);
    let text = "";
    while (walker.nextNode()) {
      nodes.push([text.length, walker.currentNode]);
      text += walker.currentNode.data;
    }
    const spot = (offset) => {
      const [start, node] = nodes.findLast(([begin]) => begin <= offset);
      return [node, Math.min(offset - start, node.length)];
    };
    text = text.toLowerCase();
    for (let at = text.indexOf(needle); at >= 0 && ranges.length < 2000; at = text.indexOf(needle, at + needle.length)) {
      const range = new Range();
      range.setStart(...spot(at));
      range.setEnd(...spot(at + needle.length));
      ranges.push(range);
    }
  }
  CSS.highlights.set("found", new Highlight(...ranges));
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (form.elements.q.value && form.elements.q.value === found.text) stepFound(1);
  else search().catch(() => { result.textContent = "the server does not answer"; });
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    stepFound(-1);
  }
});
form.elements.q.addEventListener("input", () => form.elements.q.value || search());

// --- Times, wrapping ---------------------------------------------------------------------------------------------------

const remembered = (name, otherwise) => {
  try { return localStorage.getItem(name) ?? otherwise; } catch { return otherwise; }
};
const remember = (name, value) => {
  try { localStorage.setItem(name, value); } catch { /* as it was, next time */ }
};
let wrap = remembered("log-wrap", innerWidth < 700 ? "on" : "off") === "on";
let times = remembered("log-times", "off") === "on";
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hour12: false });
const day = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const at = (time) => clock.format(Date.parse(time));
const began2 = new Map(); // step -> when it began

// What the bar leaves of the window is the log's.
function size() {
  scroller.style.setProperty("max-height", `max(240px, calc(100dvh - ${bar.offsetHeight + 16}px))`);
}

function showChoices() {
  log.classList.toggle("wrap", wrap);
  log.classList.toggle("times", times);
  button("wrap").setAttribute("aria-pressed", wrap);
  button("times").setAttribute("aria-pressed", times);
}

scroller.addEventListener("mouseover", (event) => {
  const row = event.target.closest(".l[data-time]");
  if (!row || row.title) return;
  const time = Date.parse(row.dataset.time), start = began2.get(Number(row.dataset.step));
  row.title = `${start ? `${((time - start) / 1000).toFixed(3)} s into the step, ` : ""}${day.format(time)}`;
});

// --- What is clicked ---------------------------------------------------------------------------------------------------

function keepPlace(change) {
  const edge = scroller.getBoundingClientRect().top, stay = following;
  const row = [...scroller.querySelectorAll(".l[id]")].find((line) => line.getBoundingClientRect().bottom > edge);
  const n = row && Number(row.id.slice(1)), { top, height } = row?.getBoundingClientRect() ?? {};
  change();
  relayout();
  if (stay) toEnd();
  else if (n && !isHidden(n)) goTo(n, (edge - top) / height);
}

const does = {
  wrap() { wrap = !wrap; remember("log-wrap", wrap ? "on" : "off"); keepPlace(showChoices); },
  times() { times = !times; remember("log-times", times ? "on" : "off"); keepPlace(showChoices); },
  fold() {
    const all = foldedSteps.size < heads.length;
    for (const { step } of heads) all ? foldedSteps.add(step) : foldedSteps.delete(step);
    relayout();
  },
  follow: toEnd,
  top() { leave(); target = null; scroller.scrollTop = 0; update(); },
  end: toEnd,
  next: () => stepFound(1),
  previous: () => stepFound(-1),
  "next-mark": () => stepMarks(1),
  "previous-mark": () => stepMarks(-1),
};

log.addEventListener("click", (event) => {
  const action = event.target.closest("[data-do]");
  if (action) return does[action.dataset.do]();
  const fold = event.target.closest("button.fold");
  if (fold) {
    const [set, key] = fold.dataset.fold ? [foldedSteps, Number(fold.dataset.fold)] : [foldedGroups, Number(fold.dataset.group)];
    set.has(key) ? set.delete(key) : set.add(key);
    leave();
    relayout();
    scroller.querySelector(fold.dataset.fold ? `[data-fold="${key}"]` : `[data-group="${key}"]`)?.focus({ preventScroll: true });
    return;
  }
  const link = event.target.closest("a.n");
  if (!link?.hash) return;
  event.preventDefault();
  const n = Number(link.hash.slice(2));
  if (event.shiftKey && chosen) choose(chosen[0] === n ? chosen[1] : chosen[0], n);
  else choose(n, n);
  history.replaceState(null, "", chosen[0] === chosen[1] ? `#L${n}` : `#L${chosen[0]}-L${chosen[1]}`);
});
// From the table of steps to where it begins.
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-to-step]");
  const head = link && heads.find(({ step }) => step === Number(link.dataset.toStep));
  if (!head) return;
  event.preventDefault();
  foldedSteps.delete(head.step);
  relayout();
  if (head.n <= total) goTo(head.n, 0);
  scroller.focus({ preventScroll: true });
});
addEventListener("hashchange", fromAddress);
let width = innerWidth;
addEventListener("resize", () => {
  size();
  // A phone's own bars come and go as one scrolls: no line is broken elsewhere for them.
  wrap && width !== innerWidth ? keepPlace(() => {}) : soon();
  width = innerWidth;
});
document.addEventListener("refreshed", () => {
  for (const { n } of heads) stale.add(blockOf(n));
  soon();
});

// --- The beginning -----------------------------------------------------------------------------------------------------

async function begin() {
  const outline = await json("/outline");
  total = outline.total;
  for (const { number: step, begins, lines, time } of outline.steps) {
    if (!begins) continue;
    if (!heads.some((head) => head.step === step)) heads.push({ n: lines + 1, step });
    began2.set(step, Date.parse(time));
  }
  const starts = new Set(heads.map(({ n }) => n));
  let next = 0;
  for (const one of outline.marks) {
    while (next < heads.length && heads[next].n <= one.n) {
      const last = groups.at(-1);
      if (last && last.end === undefined && starts.has(heads[next].n)) last.end = heads[next].n - 1;
      next++;
    }
    learn(one);
  }
  // Groups open folded, but one with an error in it, and one that is being written.
  for (const { n, end } of groups) {
    if (end !== undefined && !marks.some((one) => one.kind === "error" && one.n > n && one.n <= end)) foldedGroups.add(n);
  }
  scroller.replaceChildren(before, after);
  const probe = drawLine({ n: 0, text: "x", time: 0 });
  scroller.append(probe);
  lineHeight = probe.getBoundingClientRect().height || lineHeight;
  probe.remove();
  loaded = true;
  log.classList.add("scripted");
  showChoices();
  for (const element of bar.querySelectorAll("[data-scripted]")) element.hidden = false;
  showMarks();
  tellTotal();
  size();
  relayout();
  if (form.elements.q.value) search();
  else if (!fromAddress()) {
    const openAt = Number(log.dataset.openAt);
    if (openAt) goTo(openAt, "end");
    else if (!over) toEnd();
  }
  if (!over) follow(total);
  showJump();
  leftAt = total;
  log.dataset.ready = "true";
}
begin().catch(() => { /* The window that the page came with stands. */ });
