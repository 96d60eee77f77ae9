// What of a job's log is in the page: rows in blocks of lines, fetched by their numbers, the far ones forgotten again; which are
// folded; and how one place stays where it is, or is come to, whatever else changes. Between `log_text.js` and `log.js`.

const log = document.getElementById("log");
const scroller = log.querySelector(".lines");
const bar = log.querySelector(".bar");
const address = `${document.documentElement.dataset.base ?? ""}/api/v1/jobs/${log.dataset.job}`, attempt = `attempt=${log.dataset.attempt}`;
const app = import(document.querySelector('script[src*="/assets/app."]').src);

const BLOCK = 200; // lines
const KEPT = 48; // blocks whose lines are remembered
const FETCHED = 2000; // lines a request
// Browsers limit how high an element is, and draw it with less care long before, in the screen's pixels: a log that is higher
// is scrolled in parts (see `stand`).
const highest = () => Math.min(4e6, 8e6 / devicePixelRatio);
const EDGE = 5000; // pixels at either end of such a log that are scrolled as they are
const FAR = 4000; // pixels that nobody scrolls at once but with the bar

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
const stale = new Set(); // blocks whose rows have changed
let target = null; // the place to come to, once everything around it is there: see `placeOf`; or {end: true}
let held = null; // the place to stay at when rows change next
let read = null; // the place that one reads
let chosen = null; // [first, last]: the lines that the address names
let picked = 0; // the one of them that a range begins at
let lineHeight = 19, headHeight = 28;
const before = make("div"), after = make("div");

const button = (name) => log.querySelector(`[data-do="${name}"]`);
const number = new Intl.NumberFormat();
const json = async (path) => {
  const answer = await fetch(address + path, { headers: { accept: "application/json" } });
  if (!answer.ok) throw Object.assign(new Error(), { status: answer.status });
  reached();
  return answer.json();
};

// --- The server away ---------------------------------------------------------------------------------------------------

const offline = document.getElementById("offline");
let failures = 0, gone = false, sayLater = 0;

function reached() {
  failures = 0;
  clearTimeout(sayLater);
  sayLater = 0;
  offline.hidden = true;
}

// A connection that is back at once was never lost.
function away() {
  sayLater ||= setTimeout(() => { offline.hidden = false; }, 3000);
}

// Waits until it is time to try again, longer each time. Nothing is tried again that the server refuses.
async function failed({ status }) {
  if ([401, 403, 404].includes(status)) {
    if (!gone) {
      const note = make("p", "note bad", "You are signed out, or this job no longer exists. Reload to continue.");
      note.setAttribute("role", "alert");
      log.querySelector(".view").before(note);
      size();
    }
    gone = true;
    return reached();
  }
  away();
  await new Promise((done) => setTimeout(done, Math.min(1000 * 2 ** failures++, 15_000)));
}

// --- Rows --------------------------------------------------------------------------------------------------------------
// A row is a line (#L7, or #O2-stdout of one that has not ended) or a step's head (#S2).

const openId = ({ step, stream }) => `O${step ?? ""}-${stream}`;

function drawLine(line) {
  const row = make("div", "l");
  if (line.stream === "system") row.classList.add("sys");
  if (line.mark) row.classList.add(line.mark);
  const link = make("a", "n", line.n || "");
  row.append(link);
  row.id = line.n ? `L${line.n}` : openId(line);
  if (line.n) {
    link.href = `#L${line.n}`;
    row.classList.toggle("chosen", isChosen(line.n));
    row.classList.toggle("found", found.lines.has(line.n));
  }
  row.dataset.time = line.time;
  if (line.step) row.dataset.step = line.step;
  if (times) showTime(row);
  const among = heads.findLast((head) => !line.n || head.n <= line.n);
  if (line.step && among && among.step !== line.step) row.append(make("span", "of", stepName(line.step).slice(0, 24)));
  if (line.mark === "group") {
    const fold = make("button", "fold", groupName(line.text));
    fold.type = "button";
    fold.dataset.group = line.n;
    fold.setAttribute("aria-expanded", isOpen(fold));
    row.append(fold);
  } else {
    const text = make("span", "x");
    if (line.mark && !line.text.slice(0, 80).toLowerCase().includes(line.mark)) text.append(make("span", "word", `${line.mark} `));
    drawText(text, line.text);
    row.append(text);
  }
  inTabOrder(row, false);
  return row;
}

function showTime(row) {
  row.querySelector(".n").after(make("span", "at", at(row.dataset.time)));
}

function drawHead(step) {
  const head = make("div", "head");
  head.id = `S${step}`;
  const fold = make("button", "fold");
  fold.type = "button";
  fold.dataset.fold = step;
  fold.setAttribute("aria-expanded", isOpen(fold));
  head.append(fold);
  tellHead(head);
  inTabOrder(head, false);
  return head;
}

const stepName = (step) => document.querySelector(`#step-${step} .name`)?.textContent ?? `Step ${step}`;

// A step's row stands in the page's table: its name, its status and its script are known from there.
function tellHead(head) {
  const fold = head.firstChild, step = fold.dataset.fold, known = document.getElementById(`step-${step}`);
  const name = stepName(step);
  if (fold.textContent !== name) fold.textContent = name;
  for (const old of head.querySelectorAll(".st,.quiet")) old.remove();
  const status = known?.querySelector(".st"), took = make("span", "quiet");
  took.append(...(known?.querySelector(".took")?.cloneNode(true).childNodes ?? []));
  fold.after(...(status ? [status.cloneNode(true)] : []), took);
  const script = known?.querySelector("pre")?.textContent;
  if (script && !head.querySelector(".script")) tellScript(head, script.trimEnd().split("\n"));
}

// --- Folds -------------------------------------------------------------------------------------------------------------

const stepEnd = (at) => (heads[at + 1] ? heads[at + 1].n - 1 : total);

const isOpen = ({ dataset: { fold, group } }) => (fold ? !foldedSteps.has(Number(fold)) : !foldedGroups.has(Number(group)));

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

// Which of them is the last that begins at or before a line.
function foldAt(n) {
  let low = 0, high = folds.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (folds[middle][0] <= n) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
const isHidden = (n) => (folds[foldAt(n)]?.[1] ?? 0) >= n;

// The row that a hidden line is folded into.
function folder(n) {
  const head = heads.findLast((one) => one.n <= n);
  if (head && foldedSteps.has(head.step)) return `S${head.step}`;
  return `L${groups.findLast((group) => group.n < n).n}`;
}

function unfold(n) {
  if (!isHidden(n)) return;
  const head = heads.findLast((one) => one.n <= n);
  if (head) foldedSteps.delete(head.step);
  for (const group of groups) if (group.n < n && n <= (group.end ?? total)) foldedGroups.delete(group.n);
  change();
}

// --- Blocks ------------------------------------------------------------------------------------------------------------

const blockOf = (n) => Math.floor((n - 1) / BLOCK);
const blockCount = () => blockOf(total + 1) + 1;
const firstOf = (block) => block * BLOCK + 1;
const lastOf = (block) => Math.min(total, (block + 1) * BLOCK);

function visibleLines(block) {
  const first = firstOf(block), last = lastOf(block);
  let count = last - first + 1;
  for (let at = foldAt(last); at >= 0 && folds[at][1] >= first; at--)
    count -= Math.min(last, folds[at][1]) - Math.max(first, folds[at][0]) + 1;
  return Math.max(0, count);
}
const headsIn = (block) => heads.filter(({ n }) => blockOf(n) === block);

function guess(block) {
  const rows = visibleLines(block) + (block === blockCount() - 1 ? open.length : 0);
  return rows * lineHeight + headsIn(block).length * headHeight;
}

function offsetOf(block) {
  let offset = 0;
  for (let at = 0; at < block; at++) offset += heights[at];
  return offset;
}
const whole = () => offsetOf(heights.length);

// Changes which rows are seen, or how: `row`, or what one reads, stays where it is.
function change(how = () => {}, row = null) {
  held = row ? placeOf(row) : following ? null : placeOf(rowInView()) ?? read;
  how();
  refold();
  heights = Array.from({ length: blockCount() }, (_, block) => guess(block));
  for (const block of shown.keys()) stale.add(block);
  for (const fold of scroller.querySelectorAll("button.fold")) fold.setAttribute("aria-expanded", isOpen(fold));
  const n = held && lineOf(held.id);
  if (n && held.id[0] === "L" && isHidden(n)) held = { ...held, id: folder(n), part: 0 };
}

// Brings a block's rows up to date. Those that stay are the same elements: whatever of them has the focus or is selected keeps it.
function fill(element, block) {
  const lines = cache.get(block) ?? [], complete = lines.length > lastOf(block) - firstOf(block);
  if (lines.length) {
    cache.delete(block);
    cache.set(block, lines);
  }
  element.classList.toggle("empty", !complete);
  element.style.setProperty("min-height", complete ? "0" : `${heights[block]}px`);
  const old = new Map([...element.children].map((row) => [row.id, row])), rows = new Set(), mine = headsIn(block);
  const headsBefore = (n) => {
    for (; mine[0]?.n <= n; mine.shift()) rows.add(old.get(`S${mine[0].step}`) ?? drawHead(mine[0].step));
  };
  for (const line of lines) {
    headsBefore(line.n);
    if (line.mark !== "end-group" && !isHidden(line.n)) rows.add(old.get(`L${line.n}`) ?? drawLine(line));
  }
  if (complete) headsBefore(total + 1);
  if (complete && block === blockCount() - 1) {
    for (const line of open) {
      const drawn = old.get(openId(line)), row = said.get(drawn) === line.text ? drawn : drawLine(line);
      said.set(row, line.text);
      rows.add(row);
    }
  }
  for (const row of old.values()) if (!rows.has(row)) row.remove();
  let place = element.firstChild;
  for (const row of rows) {
    if (row === place) place = place.nextSibling;
    else element.insertBefore(row, place);
  }
}
const said = new WeakMap(); // what rows of lines say that have not ended

function forget() {
  for (const block of cache.keys()) {
    if (cache.size <= KEPT) return;
    if (!shown.has(block)) cache.delete(block);
  }
}

// --- Where one is ------------------------------------------------------------------------------------------------------
// A place is {id, down, part}: a row's, how many pixels of the view are above it, how much of it is above the view; or
// {id, align} with "center" or "end". Depths are pixels from the log's first line on.

let shift = 0; // the depth at which scrolling is at 0
let stood = 0; // where the scroll bar was put
let jumped = false; // the bar was taken somewhere else: what was drawn is not there
const depth = () => scroller.scrollTop + shift;
const edge = () => scroller.getBoundingClientRect().top + scroller.clientTop;
const atEnd = () => depth() + scroller.clientHeight >= whole() - 4;

// The first line of what an id names, or the line behind.
function lineOf(id) {
  const number = Number(id.slice(1));
  if (id[0] === "L") return number;
  if (id[0] === "B") return firstOf(number);
  return id[0] === "S" ? heads.find(({ step }) => step === number).n : total + 1;
}

function placeOf(row) {
  if (!row) return null;
  const { top, height } = row.getBoundingClientRect(), down = top - edge();
  const within = down < 0 && height && !row.matches(".block");
  return { id: row.id, down: within ? 0 : down, part: within ? -down / height : 0 };
}

// The first row that one sees anything of; of a block that has no rows yet, the block.
function rowInView() {
  const top = edge(), below = (row) => row.getBoundingClientRect().bottom > top;
  const block = [...shown].sort(([one], [other]) => one - other).map(([, element]) => element).find(below);
  return block && ([...block.children].find(below) ?? block);
}

function depthOf(row) {
  const block = row.closest(".block");
  return offsetOf(block.dataset.block) + row.getBoundingClientRect().top - block.getBoundingClientRect().top;
}
function guessedDepth(id) {
  const n = lineOf(id), block = blockOf(n);
  return offsetOf(block) + Math.min((n - firstOf(block)) * lineHeight, heights[block]);
}

// How far below the view's top a place's row has to be.
function downOf({ align, down = 0, part = 0 }, height) {
  if (align === "center") return (scroller.clientHeight - height) / 2;
  return align === "end" ? scroller.clientHeight - height - 24 : down - part * height;
}

// A log that is too high for a browser is scrolled by its own pixels around where one is; taking the bar somewhere goes
// to that part of the whole. Near its ends, the two are the same.
const left = () => Math.max(0, whole() - highest());
const shiftAtDepth = (depth) => left() * Math.min(1, Math.max(0, (depth - EDGE) / (whole() - scroller.clientHeight - 2 * EDGE)));
const shiftAtBar = (bar) => left() * Math.min(1, Math.max(0, (bar - EDGE) / (highest() - scroller.clientHeight - 2 * EDGE)));

// How far one has scrolled.
function scrolled() {
  const by = scroller.scrollTop - stood;
  stood = scroller.scrollTop;
  if (Math.abs(by) > FAR && left()) {
    shift = shiftAtBar(stood);
    jumped = true;
  }
  return by;
}

// Puts the view at a depth of what is drawn, from one block to another.
function stand(at, first, last) {
  const all = whole(), room = all - left(), begins = offsetOf(first), ends = offsetOf(last + 1);
  at = Math.max(0, Math.min(at, all - scroller.clientHeight));
  const rests = performance.now() - scrolledAt > 200;
  if (rests || shift > begins || shift < ends - room) shift = shiftAtDepth(at);
  shift = Math.max(ends - room, Math.min(shift, begins));
  before.style.setProperty("height", `${begins - shift}px`);
  after.style.setProperty("height", `${room - ends + shift}px`);
  // What is less than a pixel is the browser's rounding.
  if (Math.abs(scroller.scrollTop - (at - shift)) >= 1) scroller.scrollTop = at - shift;
  stood = scroller.scrollTop;
}

// Brings what is in view, and a screen around it, into the page; what is not, out of it.
function update() {
  if (!loaded) return;
  scrolled();
  const count = blockCount(), view = scroller.clientHeight || 600, hadFocus = scroller.contains(document.activeElement);
  while (heights.length < count) heights.push(guess(heights.length));
  heights.length = count;
  const toEnd = target ? target.end : following;
  const place = toEnd ? null : target ?? held ?? (jumped ? null : placeOf(rowInView()));
  let at = depth();
  if (toEnd) at = whole() - view;
  else if (target || held) at = guessedDepth(place.id) - downOf(place, lineHeight);
  held = null;
  jumped = false;
  const need = [];
  let offset = 0;
  for (let block = 0; block < count && offset < at + 2 * view; block++) {
    const end = offset + heights[block];
    if (end > at - view && (heights[block] > 0 || block === count - 1)) need.push(block);
    offset = end;
  }
  if (!need.length) need.push(count - 1);
  for (const [block, element] of shown) {
    // Also one between them that has nothing to show any more, since its lines are folded.
    if (need.includes(block)) continue;
    element.remove();
    shown.delete(block);
  }
  let next = before.nextSibling;
  for (const block of need) {
    let element = shown.get(block);
    if (!element) {
      element = make("div", "block");
      element.id = `B${block}`;
      element.dataset.block = block;
      scroller.insertBefore(element, next);
      shown.set(block, element);
      stale.add(block);
    }
    if (stale.has(block)) fill(element, block);
    next = element.nextSibling;
  }
  stale.clear();
  for (const block of need) heights[block] = shown.get(block).getBoundingClientRect().height;
  const row = place && document.getElementById(place.id);
  if (toEnd) at = whole() - view;
  else if (row && scroller.contains(row)) at = depthOf(row) - downOf(place, row.getBoundingClientRect().height);
  stand(at, need[0], need.at(-1));
  if (target) arrive(row);
  // Its row has gone from the page.
  if (hadFocus && !scroller.contains(document.activeElement)) scroller.focus({ preventScroll: true });
  read = placeOf(rowInView());
  rove();
  highlight();
  clearTimeout(fetchLater);
  fetchLater = setTimeout(() => fetchMissing(need), performance.now() - scrolledAt < 40 ? 40 : 0);
}
let fetchLater = 0, restLater = 0, scrolledAt = -1000;

async function fetchMissing(blocks) {
  if (gone) return;
  const missing = blocks.filter((block) => !wanted.has(block) && (cache.get(block)?.length ?? 0) < lastOf(block) - firstOf(block) + 1);
  while (missing.length) {
    const run = [missing.shift()];
    while (missing.length && missing[0] === run.at(-1) + 1 && run.length < FETCHED / BLOCK) run.push(missing.shift());
    run.forEach((block) => wanted.add(block));
    fetchLines(firstOf(run[0]), lastOf(run.at(-1))).catch((error) => failed(error).then(soon)).finally(() => run.forEach((block) => wanted.delete(block)));
  }
}

async function fetchLines(from, to) {
  while (from <= to) {
    const { items } = await json(`/log/lines?${attempt}&from=${from}&count=${Math.min(FETCHED, to - from + 1)}`);
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
  target = { id: `L${n}`, align };
  update();
}

// Where the page's own head takes the room, it gives way.
function giveRoom(element) {
  const { top, bottom } = element.getBoundingClientRect();
  if (bottom > innerHeight || top < 0) log.scrollIntoView();
}

function arrive(row) {
  if (row && !row.matches(".block")) giveRoom(row);
  if ([...shown.values()].every((element) => !element.classList.contains("empty"))) target = null;
}

const isChosen = (n) => !!chosen && n >= chosen[0] && n <= chosen[1];

function choose(first, last) {
  picked = first;
  chosen = [Math.min(first, last), Math.max(first, last)];
  current = `L${first}`;
  for (const row of scroller.querySelectorAll(".l")) row.classList.toggle("chosen", isChosen(Number(row.id.slice(1))));
}

function fromAddress() {
  const named = /^#L(\d+)(?:-L?(\d+))?$/.exec(location.hash);
  if (!named) return false;
  const first = Number(named[1]), last = Number(named[2] ?? first);
  choose(first, last);
  goTo(first);
  return true;
}
