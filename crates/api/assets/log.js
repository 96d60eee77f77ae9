// A job's log: any part of a log of any size, with the memory of what is in view. The page itself holds one window of lines
// and is complete without this; with it
//   - the log scrolls as one, its lines fetched by their numbers, a block at a time, the far ones forgotten again,
//   - it goes on live, resumed behind the last line whatever happens to the connection or the server,
//   - it is searched on the server; steps and groups fold; errors and warnings are stepped through; lines are linked to.
// Whatever a job printed gets into the page as text and never as markup.

const log = document.getElementById("log");
const scroller = log.querySelector(".lines");
const bar = log.querySelector(".bar");
const address = `/api/v1/jobs/${log.dataset.job}`;
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
      const note = make("p", "note bad", "You were signed out, or this job was removed: reload the page.");
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

// A step's row stands in the page's table: its name, its status and its script are known from there.
function tellHead(head) {
  const fold = head.firstChild, step = fold.dataset.fold, known = document.getElementById(`step-${step}`);
  const name = known?.querySelector(".name")?.textContent ?? `Step ${step}`;
  if (fold.textContent !== name) fold.textContent = name;
  while (head.lastChild !== fold) head.lastChild.remove();
  const status = known?.querySelector(".st"), took = make("span", "quiet");
  if (status) head.append(status.cloneNode(true));
  took.append(...(known?.querySelector(".took")?.cloneNode(true).childNodes ?? []));
  head.append(took);
  const script = known?.querySelector("pre")?.textContent;
  if (script) head.append(make("pre", "script", script));
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
    if (need[0] <= block && block <= need.at(-1)) continue;
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
    const { items } = await json(`/log/lines?from=${from}&count=${Math.min(FETCHED, to - from + 1)}`);
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
  const by = scrolled();
  scrolledAt = performance.now();
  if (!target && loaded) {
    if (atEnd()) following = !over;
    else if (by) leave();
  }
  showJump();
  soon();
  clearTimeout(restLater);
  restLater = setTimeout(soon, 250);
}, { passive: true });
// Who scrolls by hand has come to where they want to be.
for (const kind of ["wheel", "touchmove", "pointerdown", "keydown"]) scroller.addEventListener(kind, () => { target = null; }, { passive: true });

function toEnd() {
  following = !over;
  target = over ? { end: true } : null;
  update();
  showJump();
}

function tellTotal() {
  log.querySelector(".total").textContent = `${number.format(total)} ${total === 1 ? "line" : "lines"}`;
  const nothing = !total && !open.length;
  scroller.toggleAttribute("data-nothing", nothing);
  if (nothing) scroller.dataset.nothing = over ? "Nothing was printed." : "Nothing was printed yet.";
}

function learn(mark) {
  const { n, kind } = mark;
  if (kind === "error" || kind === "warning") marks.push(mark);
  const last = groups.at(-1);
  if ((kind === "group" || kind === "end-group") && last && last.end === undefined) last.end = kind === "group" ? n - 1 : n;
  if (kind === "group") groups.push({ n });
}

function began(step, lines, time) {
  if (heads.some((head) => head.step === step)) return;
  const last = groups.at(-1);
  if (last && last.end === undefined) last.end = lines;
  heads.push({ n: lines + 1, step });
  beganAt.set(step, Date.parse(time));
}
const beganAt = new Map(); // step -> when

let refreshLater = 0;
function refreshPage() {
  clearTimeout(refreshLater);
  refreshLater = setTimeout(async () => (await app).refresh(), 250);
}

function follow(behind) {
  const source = new EventSource(`${address}/log/lines/stream?last_event_id=${behind}`);
  source.addEventListener("lines", (event) => {
    const data = JSON.parse(event.data), grows = blockOf(total + 1);
    for (const line of data.lines) {
      // A line that is known was said again, and is not new.
      if (line.n !== total + 1) continue;
      total = line.n;
      keep(line);
      if (line.mark) learn({ n: line.n, kind: line.mark, text: line.text });
    }
    for (const { number: step, begins, lines, time } of data.steps ?? []) if (begins) began(step, lines, time);
    if (data.steps) refreshPage();
    open = data.open;
    stale.add(grows).add(blockOf(total + 1));
    if (!shown.has(grows)) heights.length = Math.min(heights.length, grows);
    if (folds.length) refold();
    forget();
    tellTotal();
    showMarks();
    showJump();
    soon();
  });
  source.addEventListener("end", () => {
    source.close();
    over = true;
    open = [];
    log.dataset.over = "true";
    stale.add(blockOf(total + 1));
    if (following) target = { end: true };
    following = false;
    tellTotal();
    showJump();
    refreshPage();
    soon();
  });
  source.onopen = reached;
  source.onerror = () => {
    away();
    // A refused connection is tried again by itself; an answer that is no stream (a proxy's 502, nobody signed in) is not.
    if (source.readyState === EventSource.CLOSED && !over) resume();
  };
  addEventListener("pagehide", () => source.close());
}

async function resume() {
  while (!gone) {
    try {
      await json("");
      return follow(total);
    } catch (error) {
      await failed(error);
    }
  }
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
  const answer = await json(`/log/search?q=${encodeURIComponent(asked)}&${query}`);
  if (asked !== form.elements.q.value) return false;
  found = { ...found, text: asked, count: answer.count, skipped: answer.skipped, list: answer.lines, lines: new Set(answer.lines) };
  return true;
}

function showFound() {
  const { text, count, at } = found;
  result.textContent = !text ? "" : count ? `${number.format(at + 1)} of ${number.format(count)}` : "nothing found";
  for (const name of ["next", "previous"]) button(name).disabled = !count;
  for (const row of scroller.querySelectorAll(".l")) row.classList.toggle("found", found.lines.has(Number(row.id.slice(1))));
  highlight();
}

async function search() {
  const text = form.elements.q.value;
  if (!text) {
    found = { text: "", count: 0, skipped: 0, list: [], lines: new Set(), at: -1 };
    return showFound();
  }
  result.textContent = "searching";
  const row = rowInView(), from = row ? lineOf(row.id) : 1;
  if (!(await find(`from=${from}`))) return;
  if (!found.list.length && found.count) await find("skip=0");
  found.at = found.skipped;
  come2();
}

// To the one whose turn it is.
function come2() {
  showFound();
  const n = found.list[found.at - found.skipped];
  if (!n) return;
  choose(n, n);
  goTo(n);
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

// What stands above it leaves of the window is the log's.
function size() {
  const above = scroller.getBoundingClientRect().top - log.getBoundingClientRect().top;
  scroller.style.setProperty("max-height", `max(240px, calc(100dvh - ${above + 16}px))`);
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
  const time = Date.parse(row.dataset.time), start = beganAt.get(Number(row.dataset.step));
  row.title = `${start ? `${((time - start) / 1000).toFixed(3)} s into the step, ` : ""}${day.format(time)}`;
});

// --- What is clicked ---------------------------------------------------------------------------------------------------

const does = {
  wrap() { wrap = !wrap; remember("log-wrap", wrap ? "on" : "off"); change(showChoices); update(); },
  times() {
    times = !times;
    remember("log-times", times ? "on" : "off");
    change(() => {
      for (const row of scroller.querySelectorAll(".l")) times ? showTime(row) : row.querySelector(".at").remove();
      showChoices();
    });
    update();
  },
  fold() {
    const all = foldedSteps.size < heads.length;
    change(() => {
      for (const { step } of heads) all ? foldedSteps.add(step) : foldedSteps.delete(step);
    });
    update();
  },
  follow: () => does.end(),
  top() { leave(); target = { id: "B0" }; update(); },
  end() { toEnd(); giveRoom(scroller); },
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
    leave();
    change(() => { set.has(key) ? set.delete(key) : set.add(key); }, fold.closest(".head,.l"));
    update();
    return showJump();
  }
  const link = event.target.closest("a.n");
  if (!link?.hash) return;
  event.preventDefault();
  const n = Number(link.hash.slice(2));
  choose(event.shiftKey && picked ? picked : n, n);
  current = `L${n}`;
  history.replaceState(null, "", chosen[0] === chosen[1] ? `#L${n}` : `#L${chosen[0]}-L${chosen[1]}`);
});
// From the table of steps to where it begins.
document.addEventListener("click", (event) => {
  const row = event.target.closest(".steps .name")?.closest("tr");
  const head = row && heads.find(({ step }) => row.id === `step-${step}`);
  if (!head) return;
  event.preventDefault();
  leave();
  change(() => foldedSteps.delete(head.step));
  target = { id: `S${head.step}` };
  update();
  scroller.focus({ preventScroll: true });
});
addEventListener("hashchange", fromAddress);
let width = innerWidth;
addEventListener("resize", () => {
  size();
  // A phone's own bars come and go as one scrolls: no line is broken elsewhere for them.
  if (wrap && width !== innerWidth) {
    const place = following ? null : read;
    change();
    held = place;
  }
  width = innerWidth;
  soon();
});
document.addEventListener("refreshed", () => {
  for (const head of scroller.querySelectorAll(".head")) tellHead(head);
  soon();
});

// --- The keyboard ------------------------------------------------------------------------------------------------------
// One row at a time is in the order of Tab, so that Tab leaves the log: the one that was last focused or linked, where it is in
// view, else the first. Arrows go from one to the next.

let current = ""; // its id
let roving = null; // the row that is in the order now

const links = (row) => row.querySelectorAll("a[href],button");
function inTabOrder(row, is) {
  for (const link of links(row)) link.tabIndex = is ? 0 : -1;
}

function rove() {
  const view = scroller.getBoundingClientRect();
  const inView = (row) => row && row.getBoundingClientRect().bottom > view.top && row.getBoundingClientRect().top < view.bottom;
  const last = document.getElementById(current), row = inView(last) && scroller.contains(last) ? last : rowInView();
  if (row === roving) return;
  if (roving) inTabOrder(roving, false);
  roving = row?.matches(".block") ? null : row;
  if (roving) inTabOrder(roving, true);
}

scroller.addEventListener("focusin", (event) => {
  const row = event.target.closest(".l,.head");
  if (!row) return;
  current = row.id;
  rove();
});

scroller.addEventListener("keydown", (event) => {
  const { key, target: at } = event;
  if (event.altKey || event.shiftKey || event.metaKey) return;
  if (key === "Home" || key === "End") does[key === "End" ? "end" : "top"]();
  else if (key === "ArrowDown" || key === "ArrowUp") {
    const row = at.closest(".l,.head");
    if (!row) return;
    const rows = [...scroller.querySelectorAll(".l,.head")].filter((one) => links(one).length);
    const next = rows[rows.indexOf(row) + (key === "ArrowDown" ? 1 : -1)];
    if (next) links(next)[0].focus();
  } else return;
  event.preventDefault();
});

// --- The beginning -----------------------------------------------------------------------------------------------------

async function begin() {
  let outline = null;
  while (!outline) {
    try {
      outline = await json("/log/outline");
    } catch (error) {
      await failed(error);
      if (gone) return;
    }
  }
  total = outline.total;
  for (const { number: step, begins, lines, time } of outline.steps) {
    if (!begins) continue;
    if (!heads.some((head) => head.step === step)) heads.push({ n: lines + 1, step });
    beganAt.set(step, Date.parse(time));
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
  change();
  update();
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
begin();
