"use strict";
// What a reader sees. All text from outside goes through textContent, never through HTML.

const at = id => document.getElementById(id);
const make = (tag, text = "", names = "") => {
  const element = document.createElement(tag);
  element.textContent = text;
  if (names) element.className = names;
  return element;
};
const percent = p => `${(100 * p).toFixed(1)}\u00a0%`;
const shown = x => Number(x.toPrecision(4)).toString();
const column = (text, names = "") => {
  const head = make("th", text, names);
  head.scope = "col";
  return head;
};
const rowsUnder = (table, ...heads) => { // the body of a table with these heads
  table.createTHead().insertRow().append(...heads);
  return table.createTBody();
};
const KIND = PAGE.kind, NUMBER = ["regression", "embedding"].includes(KIND), TWO = PAGE.pairs || KIND === "embedding", HOT = ["classification", "multilabel", "tags"].includes(KIND);
const TEACHER = PAGE.teacher ? `The teacher (${PAGE.teacher})` : "The teacher";
const MOST = 80; // words that are left out, one after the other
const heat = () => HOT ? 10 ** (Number(at("temperature").value) / 2) : 1;
const shares = z => KIND === "multilabel" ? sigmoid(z, heat()) : KIND === "classification" ? soften(z, heat()) : z;
const best = p => p.indexOf(Math.max(...p));
const given = (z, cuts) => z.map((x, i) => x > cuts[i]);
let student = null, last = null, turn = 0; // `turn` numbers the texts: an older one stops when a newer one comes

// One answer in words, such as 'good (98.0 %)'
function inWords(z, cuts = PAGE.cuts, words = last?.list) {
  const p = shares(z);
  if (KIND === "classification") return `${PAGE.labels[best(p)]} (${percent(Math.max(...p))})`;
  if (KIND === "multilabel") return PAGE.labels.filter((_, i) => given(z, cuts)[i]).join(", ") || "none";
  if (KIND === "tags") return spans(z, words).filter(s => s.type).map(s => `${s.words.join(" ")}: ${s.type}`).join("; ") || "no entity";
  return shown(p[0]);
}

// Does the teacher say the same as the student? Of numbers nobody can tell
function same(a, b) {
  if (KIND === "classification") return best(a) === best(b);
  if (KIND === "multilabel") return `${given(a, PAGE.cuts)}` === `${given(b, PAGE.teacher_cuts)}`;
  if (KIND === "tags") return a.every((row, i) => !row || !b[i] || best(row) === best(b[i]));
  return null;
}

// Neighbouring words of one entity, as {type, words}; type '' for words outside of all
function spans(rows, words = last.list) {
  const found = [];
  rows.forEach((row, i) => {
    const tag = row ? PAGE.labels[best(row)] : "O", type = tag === "O" ? "" : tag.replace(/^[BIESLU]-/, "");
    const goes = found.at(-1) && found.at(-1).type === type && (!type || !/^[BSU]-/.test(tag));
    if (goes) found.at(-1).words.push(words[i]); else found.push({type, words: [words[i]]});
  });
  return found;
}

function bar(share, names = "") {
  const track = make("span", "", `track ${names}`), fill = make("span", "", "fill");
  fill.style.width = `${100 * Math.min(Math.max(share, 0), 1)}%`;
  track.setAttribute("aria-hidden", "true");
  track.append(fill);
  return track;
}

const typed = () => [at("text").value, TWO ? at("pair").value : null];
const example = () => PAGE.examples.find(e => e.texts.every((t, i) => t === typed()[i]));
const told = () => example()?.teacher ?? null;

function drawBars() {
  const names = KIND === "regression" ? ["score"] : KIND === "embedding" ? ["similarity"] : PAGE.labels, theirs = told();
  const p = shares(last.z), q = theirs && shares(theirs), table = make("table");
  const share = x => KIND === "embedding" ? (x + 1) / 2 : KIND === "regression" ? (x - PAGE.range[0]) / (PAGE.range[1] - PAGE.range[0] || 1) : x;
  const number = NUMBER ? shown : percent;
  const body = rowsUnder(table, column(NUMBER ? "number" : "class"), column("student", "number"), ...(q ? [column("teacher", "number")] : []));
  p.forEach((x, i) => {
    const row = body.insertRow(), name = make("th"), label = make("span", names[i], i === best(p) && p.length > 1 ? "best" : "");
    const value = make("td", number(x), "number");
    name.scope = "row";
    label.dir = "auto";
    name.append(label, bar(share(x)), ...(q ? [bar(share(q[i]), "teacher")] : []));
    value.dataset.value = x;
    row.append(name, value);
    if (q) row.append(make("td", number(q[i]), "number"));
  });
  at("bars").replaceChildren(table);
}

function drawTags() {
  const line = make("p"), types = [...new Set(PAGE.labels.filter(l => l !== "O").map(l => l.replace(/^[BIESLU]-/, "")))];
  line.dir = "auto";
  for (const {type, words} of spans(last.z)) {
    const part = make("span", words.join(" "), type ? `entity e${types.indexOf(type) % 6}` : "");
    if (type) part.append(" ", make("small", type));
    line.append(part, " ");
  }
  const table = make("table"), body = rowsUnder(table, column("word"), column("tag"), column("student", "number"));
  last.z.forEach((row, i) => {
    if (!row) return;
    const p = soften(row, heat()), tr = body.insertRow(), th = make("th", last.list[i]), value = make("td", percent(Math.max(...p)), "number");
    th.scope = "row";
    value.dataset.value = Math.max(...p);
    tr.append(th, make("td", PAGE.labels[best(p)]), value);
  });
  at("bars").replaceChildren(line, table);
}

function draw() {
  if (KIND === "tags") drawTags(); else drawBars();
  const theirs = told(), agree = theirs && same(last.z, theirs);
  at("said").textContent = `The student says: ${inWords(last.z)}.` + (theirs ? ` The teacher: ${inWords(theirs, PAGE.teacher_cuts)}.` : "") +
    (agree === false ? " They disagree." : "");
  at("facts").textContent = `${last.ms.toFixed(1)} ms for ${last.ids.length} tokens, on one thread of this browser.` +
    (last.cut ? ` The text was cut: the student reads ${PAGE.max_length} tokens.` : "");
  at("tokens").replaceChildren(...last.ids.map((id, i) => make("li", student.name(id), last.origin[i] < 0 ? "special" : "")));
}

// What becomes of the answer when a word is missing
function aim(p) {
  if (NUMBER) return [`the ${KIND === "regression" ? "score" : "similarity"}`, z => z[0]];
  const k = best(p);
  return [`the probability of ${PAGE.labels[k]}`, z => shares(z)[k]];
}

async function weigh(mine) {
  const texts = typed(), cuts = texts.map(t => t === null ? [] : pieces(t)), [what, of] = aim(shares(last.z)), whole = of(last.z), line = [];
  at("weights").hidden = false;
  at("weights-note").textContent = `Each word is left out once. The number says by how much ${what} falls without it: solid green lines support the answer, dashed ones speak against it.`;
  for (const [side, words] of cuts.entries()) {
    if (side && words.length) line.push(make("br"));
    for (const [i, word] of words.entries()) {
      const part = make("span", word, "word"), others = [...texts];
      line.push(part, " ");
      if (line.length / 2 > MOST) continue;
      others[side] = words.filter((_, j) => j !== i).join(joins(texts[side]));
      if (!others[side].trim() && TWO) continue;
      const gap = whole - of((await student.ask(...others)).z), size = Math.abs(gap);
      await new Promise(r => setTimeout(r)); // let the reader type
      if (mine !== turn) return;
      part.dataset.value = gap;
      if (size >= .005) part.classList.add(gap > 0 ? "for" : "against");
      part.append(make("small", ` ${size < (NUMBER ? 1e-9 : .0005) ? "" : gap < 0 ? "−" : "+"}${NUMBER ? shown(size) : (100 * size).toFixed(1)}`));
    }
  }
  at("words").replaceChildren(...line);
  at("words").dataset.done = mine;
}
const joins = text => /\s/.test(text.trim()) ? " " : "";
const pieces = text => /\s/.test(text.trim()) ? text.match(/\S+/g) ?? [] // a script without spaces is cut by the browser
  : Intl.Segmenter ? Array.from(new Intl.Segmenter(undefined, {granularity: "word"}).segment(text.trim()), s => s.segment) : [text];

async function update() {
  const mine = ++turn, texts = typed();
  at("bars").dataset.done = "";
  if (!texts.every(t => t === null || t.trim())) {
    last = null;
    at("weights").hidden = true;
    at("bars").replaceChildren();
    at("tokens").replaceChildren();
    for (const id of ["said", "facts"]) at(id).textContent = "";
    at("said").textContent = TWO ? "Type two texts." : "Type a text.";
    return;
  }
  const said = await student.ask(...texts);
  if (mine !== turn) return;
  last = said;
  draw();
  at("bars").dataset.done = texts.filter(t => t !== null).join("\n");
  if (KIND === "tags") return;
  await new Promise(r => setTimeout(r, 300));
  if (mine === turn) await weigh(mine);
}

function drawExamples() {
  if (!PAGE.examples.length) return;
  const teacher = PAGE.examples.some(e => e.teacher), table = at("rows");
  at("examples").hidden = false;
  at("examples-note").textContent = `Choose one to try it.${teacher ? ` ${TEACHER} answered them before this page was made.` : ""}`;
  const heads = teacher ? ["text", "teacher", "student", NUMBER ? "difference" : "same answer"] : ["text", "student"];
  const body = rowsUnder(table, ...heads.map(t => column(t)));
  for (const e of PAGE.examples) {
    const row = body.insertRow(), name = make("th"), button = make("button", e.texts.join(" / "));
    name.scope = "row";
    name.dir = "auto";
    button.type = "button";
    button.addEventListener("click", () => { fill(e); if (student) update().catch(failed); at("text").focus() });
    name.append(button);
    row.append(name, ...(teacher ? [make("td", e.teacher ? wordsFor(e, e.teacher, PAGE.teacher_cuts) : "–")] : []), make("td", "..."), ...(teacher ? [make("td")] : []));
    [...row.cells].forEach((cell, i) => { cell.dataset.head = heads[i] }); // shown on narrow screens
    e.row = row;
  }
  // A style that lays the rows out anew would take these roles from them
  const roles = {table: [table], rowgroup: [table.tHead, body], row: [...table.rows], columnheader: [...table.tHead.rows[0].cells],
                 rowheader: [...body.querySelectorAll("th")], cell: [...body.querySelectorAll("td")]};
  for (const [role, elements] of Object.entries(roles)) for (const element of elements) element.setAttribute("role", role);
}
const wordsFor = (e, z, cuts) => inWords(z, cuts, wordsOf(e.texts[0]));

async function answerExamples() {
  let right = 0, asked = 0;
  for (const e of PAGE.examples) {
    e.student ??= (await student.ask(...e.texts)).z;
    const cells = e.row.cells, teacher = e.teacher;
    cells[cells.length - (PAGE.examples.some(x => x.teacher) ? 2 : 1)].textContent = wordsFor(e, e.student);
    if (!teacher) continue;
    const agree = same(e.student, teacher), cell = cells[cells.length - 1];
    cell.textContent = agree === null ? shown(Math.abs(e.student[0] - teacher[0])) : agree ? "✓ agree" : "✗ differ";
    cell.className = agree === null ? "" : agree ? "agree" : "differ";
    cells[1].textContent = wordsFor(e, teacher, PAGE.teacher_cuts);
    asked++;
    right += agree === true;
    await new Promise(r => setTimeout(r));
  }
  if (asked && !NUMBER)
    at("examples-note").textContent = `Choose one to try it. ${TEACHER} answered them before this page was made; the student agrees on ${right} of ${asked}.`;
}

function fill(e) {
  at("text").value = e.texts[0];
  if (TWO) at("pair").value = e.texts[1];
}

function prepare() {
  at("second").hidden = !TWO;
  if (TWO) at("text-label").textContent = "First text";
  at("heat").hidden = !HOT;
  at("temperature").value = 2 * Math.log10(PAGE.temperature);
  const show = () => {
    at("degrees").textContent = shown(Number(heat().toPrecision(2)));
    at("temperature").setAttribute("aria-valuetext", at("degrees").textContent);
  };
  show();
  let wait = null;
  const later = (act, ms) => { clearTimeout(wait); wait = setTimeout(act, ms) };
  at("temperature").addEventListener("input", () => {
    show();
    if (last) draw();
    if (last && KIND !== "tags") later(() => weigh(++turn), 300);
    if (student) answerExamples();
  });
  for (const id of ["text", "pair"]) at(id).addEventListener("input", () => later(() => student && update().catch(failed), 120));
  at("made").textContent = PAGE.made;
  if (PAGE.examples.length) fill(PAGE.examples[0]);
}

function failed(e, what = "answer") {
  at("status").textContent = `The student could not ${what}: ${e.message ?? e}.`;
  at("status").className = "warn";
}

const ready = (async () => {
  const tell = text => { at("status").textContent = text };
  try {
    prepare();
    drawExamples();
    student = await makeStudent(PAGE, tell);
    tell("Ready. Type, and the student answers at once.");
    document.body.dataset.ready = "yes";
    await update();
    await answerExamples();
    document.body.dataset.ready = "all";
  } catch (e) {
    failed(e, "start");
    document.body.dataset.ready = "failed";
    throw e;
  }
})();
