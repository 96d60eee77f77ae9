// Longshore's script of every page. Pages are complete without it; with it
//   - times stand in the reader's zone and count on,
//   - what changes is replaced in place, over one event stream a page,
//   - keys work: any element says `data-key="x"` (and `data-key-name` for the list that `?` opens).
// A page that is live says so on its <main>: data-stream (address), data-cursor (what it has seen), data-events (names),
// data-repo and data-job (only of these). On such an event the page is fetched again and what differs is changed in place:
// elements are matched by id. Inside `data-keep` nothing is touched: that is where other scripts and forms are at home.

const main = document.getElementById("main");
const $$ = (selector, root = document) => root.querySelectorAll(selector);

// --- Times -------------------------------------------------------------------------------------------------------------

// How far this clock is ahead of the server's.
const ahead = Date.now() - Number(main.dataset.now);
const now = () => Date.now() - ahead;
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "long" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

// As the server's rough_age says it.
function rough(ms) {
  const s = Math.floor(ms / 1000);
  for (const [from, unit] of [[31536000, "y"], [2592000, "mo"], [86400, "d"], [3600, "h"], [60, "min"], [10, "s"]])
    if (s >= from) return `${Math.floor(s / (unit === "s" ? 1 : from))} ${unit} ago`;
  return "now";
}

// As the server's human_duration says it.
export function duration(ms) {
  const s = Math.floor(ms / 1000), m = Math.floor(s / 60) % 60, h = Math.floor(s / 3600);
  if (h) return m ? `${h} h ${m} min` : `${h} h`;
  if (m) return s % 60 ? `${m} min ${s % 60} s` : `${m} min`;
  return s < 10 && s > 0 ? `${s}.${Math.floor((ms % 1000) / 100)} s` : `${s} s`;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tell(root) {
  const at = now();
  for (const time of $$("time.ago", root)) {
    const then = Date.parse(time.dateTime);
    setText(time, rough(Math.max(0, at - then)));
    time.title = exact.format(then);
  }
  for (const time of $$("time.at", root)) {
    const then = Date.parse(time.dateTime);
    setText(time, moment.format(then));
    time.title = exact.format(then);
  }
  for (const span of $$(".counts", root)) setText(span, duration(Math.max(0, at - Number(span.dataset.since))));
}
tell(document);
setInterval(() => {
  if (document.hidden) return;
  tell(document);
  if (main.dataset.held && !inUse()) refresh();
}, 1000);

// --- Changing in place -------------------------------------------------------------------------------------------------

// While somebody points at a list with `data-steady`, or has the focus in it, and has moved within the last seconds, no row moves: one
// that has gone stays and says so, and new ones come when they have left. So does what is `data-late`, in a row or above the list.
const RESTS = 10000;
let usedAt = -RESTS, steady = false;
const inUse = () => performance.now() - usedAt < RESTS && !!main.querySelector("[data-steady]:is(:hover,:focus-within)");
for (const kind of ["pointermove", "pointerdown", "keydown"])
  addEventListener(kind, () => { usedAt = performance.now(); }, { capture: true, passive: true });

function hold(list, page) {
  main.dataset.held = "true";
  for (const row of list.children) {
    const wanted = row.id && page.getElementById(row.id);
    if (wanted) {
      const { height } = row.getBoundingClientRect();
      morph(row, wanted);
      row.style.setProperty("height", `${height}px`);
      row.style.setProperty("overflow", "hidden");
    } else if (row.id) {
      row.classList.add("is-gone");
      for (const status of $$(".st.running,.st.canceling,.st.queued,.st.blocked", row)) {
        status.className = "st ignored";
        status.textContent = "ended";
      }
      for (const counter of $$(".counts", row)) counter.classList.remove("counts");
    }
  }
}

function morph(old, fresh) {
  if (old.hasAttribute("data-keep")) return;
  if (steady && old.hasAttribute("data-steady")) return hold(old, fresh.ownerDocument);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value && name !== "open") old.setAttribute(name, value);
  const byId = new Map();
  for (const child of old.children) if (child.id) byId.set(child.id, child);
  // Nothing that stays is moved for what goes, which goes first: that would cost it its place, and what is selected in it.
  const stays = new Set([...fresh.children].map((child) => child.id));
  for (const [id, child] of byId) if (!stays.has(id)) child.remove();
  let place = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    let match = null;
    if (wanted.id) match = byId.get(wanted.id) ?? null;
    else if (place && !place.id && place.nodeType === wanted.nodeType && place.nodeName === wanted.nodeName) match = place;
    if (!match || match.nodeName !== wanted.nodeName) {
      if (steady && wanted.dataset?.late !== undefined) {
        main.dataset.held = "true";
        continue;
      }
      old.insertBefore(document.importNode(wanted, true), place);
      continue;
    }
    // What has no name gives way to what has one: text that was on both sides of what is gone, for example.
    while (wanted.id && place && place !== match && !place.id) {
      const next = place.nextSibling;
      place.remove();
      place = next;
    }
    if (match === place) place = place.nextSibling;
    else old.insertBefore(match, place);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, wanted);
    else if (match.nodeValue !== wanted.nodeValue) match.nodeValue = wanted.nodeValue;
  }
  while (place) {
    const next = place.nextSibling;
    place.remove();
    place = next;
  }
}

const offline = document.getElementById("offline");
let gone = false;

// Whoever reads is signed out, or what the page shows was removed: asking again changes nothing.
function end() {
  gone = true;
  unfollow();
  offline.textContent = "You are signed out, or this page no longer exists. Reload to continue.";
  offline.hidden = false;
}

// At most one fetch at a time and one in so many milliseconds, the first at once. It is of the address as it is by then.
const apart = () => (document.hidden ? 5000 : 400);
let fetching = false, stale = false, fetchedAt = 0, hurry = () => {};

export async function refresh() {
  stale = true;
  if (fetching || gone) return;
  fetching = true;
  try {
    while (stale) {
      const wait = fetchedAt + apart() - Date.now();
      if (wait > 0) await new Promise((done) => { hurry = done; setTimeout(done, wait); });
      stale = false;
      fetchedAt = Date.now();
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("main");
      // A proxy's page says nothing of ours.
      if (!fresh) return;
      if ([401, 403, 404].includes(answer.status)) return end();
      if (!answer.ok) return;
      tell(page);
      document.title = page.title;
      const icon = document.getElementById("icon"), freshIcon = page.getElementById("icon");
      if (icon.href !== freshIcon.href) icon.href = freshIcon.href;
      const focused = document.activeElement;
      steady = inUse();
      morph(main, fresh);
      if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
      if (!main.dataset.stream) unfollow();
      document.dispatchEvent(new CustomEvent("refreshed"));
    }
  } catch {
    // The server is away; the stream says when it is back.
  } finally {
    fetching = false;
  }
}

// --- The event stream --------------------------------------------------------------------------------------------------

// Open only while the page is shown: a browser has six connections for a server, and each stream holds one.
let source = null;

function unfollow() {
  source?.close();
  source = null;
}

function follow() {
  const { stream, cursor, events } = main.dataset;
  if (!stream || source || gone || document.hidden) return;
  const mine = source = new EventSource(`${stream}?last_event_id=${cursor}`);
  let lost = false;
  for (const name of events.split(" ")) mine.addEventListener(name, (event) => {
    const { repo, job } = main.dataset;
    if (repo && !event.data.includes(repo)) return;
    if (job && name !== "build" && !event.data.includes(job)) return;
    refresh();
  });
  mine.addEventListener("reset", () => refresh());
  mine.onopen = () => {
    offline.hidden = true;
    if (lost) refresh();
    lost = false;
  };
  mine.onerror = () => {
    lost = true;
    offline.hidden = false;
    // A refused connection is tried again by itself; an answer that is not a stream (a proxy's 502) is not. The page says what it means.
    if (mine.readyState !== EventSource.CLOSED) return;
    unfollow();
    refresh();
    setTimeout(follow, 2000);
  };
}

follow();
document.addEventListener("visibilitychange", () => {
  if (document.hidden) return unfollow();
  tell(document);
  grow();
  hurry();
  follow();
});
// A hidden tab asks now and then, for its title and icon; so does a timeline that grows, for its estimate.
setInterval(() => (document.hidden ? main.dataset.stream : timeline()) && refresh(), 15000);
addEventListener("pagehide", unfollow);
// Back from the browser's cache: the stream was closed.
addEventListener("pageshow", (event) => event.persisted && location.reload());

// --- Keys --------------------------------------------------------------------------------------------------------------

const keys = document.getElementById("keys");

function showKeys() {
  const list = keys.querySelector("dl");
  list.replaceChildren();
  const said = new Set();
  for (const element of [...$$("[data-key-name]", main), ...$$("[data-key-name]")]) {
    if (said.has(element.dataset.key)) continue;
    said.add(element.dataset.key);
    const key = document.createElement("dt"), name = document.createElement("dd");
    for (const one of element.dataset.key.split(" ")) {
      key.append(Object.assign(document.createElement("kbd"), { textContent: one }), " ");
    }
    name.textContent = element.dataset.keyName;
    list.append(key, name);
  }
  keys.showModal();
}

// The rows' main links, for j and k.
function step(by) {
  const links = [...$$("[data-row]", main)];
  const at = links.indexOf(document.activeElement);
  const next = links[at < 0 ? (by > 0 ? 0 : links.length - 1) : Math.min(links.length - 1, Math.max(0, at + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

let before = "";
addEventListener("keydown", (event) => {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (target.closest("input,textarea,select,[contenteditable]")) {
    if (key === "Escape") target.blur();
    return;
  }
  const pressed = before === "g" ? `g ${key}` : key;
  before = !before && key === "g" ? key : "";
  if (key === "?") showKeys();
  else if (key === "j" || key === "k") step(key === "j" ? 1 : -1);
  else {
    const selector = `[data-key="${CSS.escape(pressed)}"]`;
    const element = main.querySelector(selector) ?? document.querySelector(selector);
    if (!element || keys.open) return;
    if (element.matches("input,textarea,select")) { element.focus(); element.select?.(); }
    else element.click();
  }
  event.preventDefault();
});

// --- Small things ------------------------------------------------------------------------------------------------------

addEventListener("click", (event) => {
  const copy = event.target.closest("[data-copy]");
  if (copy) {
    navigator.clipboard?.writeText(document.getElementById(copy.dataset.copy).textContent).then(() => {
      const word = copy.textContent;
      copy.textContent = "copied";
      setTimeout(() => { copy.textContent = word; }, 1500);
    });
  }
  if (event.target.closest("[data-keys]")) showKeys();
  if (event.target === keys) keys.close();
});
addEventListener("submit", (event) => {
  const { confirm: question } = event.submitter?.dataset ?? {};
  if (question && !confirm(question)) event.preventDefault();
});
for (const button of $$("[data-copy]")) button.hidden = !navigator.clipboard;

// A list that is searched as one types: the address stays what the form would have made it.
const search = document.querySelector("[data-search]");
let typed = 0;
search?.addEventListener("input", () => {
  if (main.dataset.search !== search.name) return;
  clearTimeout(typed);
  typed = setTimeout(() => {
    const address = new URL(location.pathname, location.href);
    if (search.value) address.searchParams.set(search.name, search.value);
    history.replaceState(null, "", address);
    refresh();
  }, 120);
});

// A build's timeline grows while the build runs: its bars are in milliseconds.
function timeline() {
  return document.querySelector("#timeline[data-grows]");
}
function grow() {
  const list = timeline();
  if (document.hidden || !list) return;
  const at = Math.round(now() - Number(list.dataset.start)), span = Math.max(Number(list.dataset.span), at);
  for (const svg of $$("svg", list)) svg.setAttribute("viewBox", `0 0 ${span} 12`);
  for (const part of $$("rect[data-grows]", list)) part.setAttribute("width", Math.max(0, at - part.getAttribute("x")));
}
setInterval(grow, 1000);
