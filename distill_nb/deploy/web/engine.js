"use strict";
// The student in the browser: answers.js has what the page says, student.js and runtime.js are loaded after the page is drawn.

const bytesOf = text => {
  const raw = atob(text), bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
};
const unpacked = async text => { // base64 of gzip
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
};
const script = file => new Promise((done, failed) => { // a page from the disk may not fetch, but it may have scripts
  const tag = document.createElement("script");
  tag.src = file;
  tag.onload = done;
  tag.onerror = () => failed(new Error(`${file} is missing beside this page`));
  document.body.append(tag);
});

const soften = (z, T = 1) => { // softmax(z / T)
  const most = Math.max(...z), e = z.map(x => Math.exp((x - most) / T)), sum = e.reduce((a, b) => a + b, 0);
  return e.map(x => x / sum);
};
const sigmoid = (z, T = 1) => z.map(x => 1 / (1 + Math.exp(-x / T)));
const cosine = (u, v) => {
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  return dot(u, v) / Math.max(Math.sqrt(dot(u, u) * dot(v, v)), 1e-12);
};
const rowsOf = tensor => { // (1, n, d) -> n arrays of d numbers
  const [, n, d] = tensor.dims;
  return Array.from({length: n}, (_, i) => Array.from(tensor.data.subarray(i * d, (i + 1) * d)));
};
const pooled = (rows, how) => how === "cls" ? rows[0] : rows[0].map((_, j) => {
  const column = rows.map(r => r[j]);
  return how === "max" ? Math.max(...column) : column.reduce((a, b) => a + b, 0) / column.length;
});
// The words of a text, as data.tags cuts them
const ALONE = "\\u3040-\\u30ff\\u3400-\\u9fff\\uf900-\\ufaff", LETTER = `(?![${ALONE}])[\\p{L}\\p{N}_]`;
const BLANK = "\\t-\\r\\x1c-\\x20\\x85\\u2028\\u2029\\p{Zs}"; // as Python's \\s
const wordsOf = text => text.match(new RegExp(`[${ALONE}]|(?:${LETTER})+|[^\\p{L}\\p{N}_${BLANK}]`, "gu")) ?? [];

async function makeStudent(page, tell = () => {}) {
  const mb = n => `${(n / 1e6).toFixed(1)} MB`;
  tell(`Loading the student, ${mb(page.bytes)} ...`);
  await script("student.js");
  const words = JSON.parse(new TextDecoder().decode(await unpacked(STUDENT.tokenizer)));
  const tokenizer = makeTokenizer(words, page.max_length), graph = await unpacked(STUDENT.model);
  tell(`Loading the runtime, ${mb(page.runtime_bytes)} ...`);
  await script("runtime.js");
  const ort = await import(URL.createObjectURL(new Blob([RUNTIME.script], {type: "text/javascript"})));
  ort.env.wasm.numThreads = 1; // more need headers that a static host does not send
  ort.env.wasm.wasmBinary = (await unpacked(RUNTIME.wasm)).buffer;
  ort.env.logLevel = "error";
  tell("Starting the student ...");
  const session = await ort.InferenceSession.create(graph, {executionProviders: ["wasm"]});

  const run = async found => {
    const shape = [1, found.ids.length], given = {input_ids: found.ids, token_type_ids: found.types, attention_mask: found.ids.map(() => 1)};
    const inputs = Object.fromEntries(session.inputNames.map(name => [name, new ort.Tensor("int64", BigInt64Array.from(given[name], BigInt), shape)]));
    const start = performance.now(), out = await session.run(inputs);
    return {...found, ms: performance.now() - start, out: out[session.outputNames[0]]};
  };
  // What the student says of one or two texts: `z`, the scores; for tags one row of them for each word; for vectors their cosine
  const ask = async (text, pair = null) => {
    if (page.kind === "embedding") {
      const sides = [await run(tokenizer.encode(text)), await run(tokenizer.encode(pair))];
      const z = [cosine(...sides.map(s => pooled(rowsOf(s.out), page.pool)))];
      return {z, ms: sides[0].ms + sides[1].ms, ids: sides.flatMap(s => s.ids), origin: sides.flatMap(s => s.origin), cut: sides.some(s => s.cut)};
    }
    if (page.kind !== "tags") { const said = await run(tokenizer.encode(text, pair)); return {...said, z: Array.from(said.out.data)} }
    const list = wordsOf(text), said = await run(tokenizer.encodeWords(list)), rows = rowsOf(said.out);
    return {...said, list, z: list.map((_, i) => said.words.includes(i) ? rows[said.words.indexOf(i)] : null)};
  };
  await ask("warm", page.pairs || page.kind === "embedding" ? "warm" : null); // the first run compiles
  return {ask, name: tokenizer.name, tokenizer};
}
