// A job's log: any part of a log of any size, with the memory of what is in view. The page itself holds one window of lines
// and is complete without this; with it
//   - the log scrolls as one, its lines fetched by their numbers, a block at a time, the far ones forgotten again,
//   - it goes on live, resumed behind the last line whatever happens to the connection or the server,
//   - it is searched on the server; steps and groups fold; errors and warnings are stepped through; lines are linked to.
// Whatever a job printed gets into the page as text and never as markup.
// Three files are one module: `log_text.js` draws a line's text, `log_view.js` brings what is in view into the page, and this is what
// moves it.

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
  if (nothing) scroller.dataset.nothing = over ? "No output" : "No output yet";
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

// Open only while the page is shown: a browser has six connections for a server, and each stream holds one.
let source = null;

function unfollow() {
  source?.close();
  source = null;
}

function follow() {
  if (!loaded || over || gone || source || document.hidden) return;
  const mine = source = new EventSource(`${address}/log/lines/stream?last_event_id=${log.dataset.attempt}:${total}`);
  // The job is tried again, and the new log is another one.
  mine.addEventListener("reset", () => location.reload());
  mine.addEventListener("lines", (event) => {
    const data = JSON.parse(event.data), grows = blockOf(total + 1), first = !total && !open.length;
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
    if (first && (total || open.length) && following && !scrollY) giveRoom(scroller);
    soon();
  });
  mine.addEventListener("end", () => {
    unfollow();
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
  mine.onopen = reached;
  mine.onerror = () => {
    away();
    // A refused connection is tried again by itself; an answer that is not a stream (a proxy's 502, nobody signed in) is not.
    if (mine.readyState !== EventSource.CLOSED) return;
    unfollow();
    resume();
  };
}
document.addEventListener("visibilitychange", () => (document.hidden ? unfollow() : follow()));
addEventListener("pagehide", unfollow);

async function resume() {
  while (!gone) {
    try {
      await json("");
      return follow();
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
  const answer = await json(`/log/search?${attempt}&q=${encodeURIComponent(asked)}&${query}`);
  if (asked !== form.elements.q.value) return false;
  found = { ...found, text: asked, count: answer.count, skipped: answer.skipped, list: answer.lines, lines: new Set(answer.lines) };
  return true;
}

function showFound() {
  const { text, count, at } = found;
  result.textContent = !text ? "" : count ? `${number.format(at + 1)} of ${number.format(count)}` : "no matches";
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
  result.textContent = "searching…";
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

const trying = (asking) => asking.catch(() => { result.textContent = "connection lost"; });

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
  trying(form.elements.q.value && form.elements.q.value === found.text ? stepFound(1) : search());
});
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.shiftKey) {
    event.preventDefault();
    trying(stepFound(-1));
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

// The log has the window to itself, below its own bar. One that is written while the page is open has what the page's head leaves of
// the window, so that its newest lines are in view; where that is too little, the page is scrolled to the log.
const live = !over, LEAST = 320; // pixels
function size() {
  const { top } = scroller.getBoundingClientRect(), room = innerHeight - top - scrollY - 16, inPlace = live && room >= LEAST;
  const height = `max(240px, calc(100dvh - ${top - log.getBoundingClientRect().top + 16}px))`;
  scroller.style.setProperty("max-height", inPlace ? `${room}px` : height);
  scroller.style.setProperty("min-height", live && !inPlace ? height : "0");
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
  next: () => trying(stepFound(1)),
  previous: () => trying(stepFound(-1)),
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
  size();
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
      outline = await json(`/log/outline?${attempt}`);
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
  if (form.elements.q.value) trying(search());
  else if (!fromAddress()) {
    const openAt = Number(log.dataset.openAt);
    if (openAt) goTo(openAt, log.dataset.openAlign);
    // Before the first line, the page's head says more than an empty log.
    else if (!over) total || open.length ? does.end() : toEnd();
  }
  follow();
  showJump();
  leftAt = total;
  log.dataset.ready = "true";
}
begin();
