"use strict";
// A tokenizer.json as a function from texts to token ids, as the Python package `tokenizers` computes them.
// It knows WordPiece, BPE, Unigram and WordLevel with the parts below, and refuses all others by name.
const makeTokenizer = (() => {

const refuse = (part, what) => { throw new Error(`this tokenizer's ${part} ${what} is not known here`) };
const made = (table, part, spec, usual) => spec ? (table[spec.type] ?? (() => refuse(part, spec.type)))(spec) : usual;
const utf8 = new TextEncoder();
const escaped = text => text.replace(/[.*+?^${}()|[\]\\\/]/g, "\\$&");
const each = (text, change) => { let out = ""; for (const c of text) out += change(c); return out };
const SPACE = "\\t\\n\\v\\f\\r\\u0085\\p{Zs}\\p{Zl}\\p{Zp}"; // what Rust calls white space
const WORD = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}";
const PUNCTUATION = /[!-\/:-@[-`{-~\p{P}]/gu, blank = new RegExp(`^[${SPACE}]$`, "u");

// Normalizers: text -> text

const IDEOGRAPHS = [[0x4E00, 0x9FFF], [0x3400, 0x4DBF], [0x20000, 0x2A6DF], [0x2A700, 0x2B73F], [0x2B740, 0x2B81F],
                    [0x2B920, 0x2CEAF], [0xF900, 0xFAFF], [0x2F800, 0x2FA1F]];
const ideograph = c => IDEOGRAPHS.some(([a, b]) => a <= c.codePointAt(0) && c.codePointAt(0) <= b);
const lower = text => each(text, c => c.toLowerCase()); // letter by letter: no Greek final sigma
const bare = text => text.normalize("NFD").replace(/\p{Mn}/gu, "");
const clean = text => each(text, c =>
  "\t\n\r".includes(c) ? " " : /[\uFFFD\p{Cc}\p{Cf}\p{Co}]/u.test(c) ? "" : blank.test(c) ? " " : c);

function bert(n) {
  const strip = n.strip_accents ?? n.lowercase;
  return text => {
    if (n.clean_text) text = clean(text);
    if (n.handle_chinese_chars) text = each(text, c => ideograph(c) ? ` ${c} ` : c);
    if (strip) text = bare(text);
    return n.lowercase ? lower(text) : text;
  };
}

function pattern(p) {
  if (p.String !== undefined) return new RegExp(escaped(p.String), "gu");
  const source = p.Regex.replace(/\\s/g, `[${SPACE}]`).replace(/\\S/g, `[^${SPACE}]`).replace(/\[([^\]]*)\[([^\]]*)\]/g, "[$1$2");
  try { return new RegExp(source, "gu") } catch { refuse("pattern", p.Regex) }
}

// Darts' double array of SentencePiece: the longest key at each place is replaced.
function precompiled(map) {
  const raw = atob(map), bytes = Uint8Array.from(raw, c => c.charCodeAt(0)), view = new DataView(bytes.buffer);
  const size = view.getUint32(0, true), unit = i => view.getUint32(4 + 4 * i, true), texts = bytes.subarray(4 + size);
  const offset = u => (u >>> 10) << ((u & 512) >>> 6), words = new TextDecoder();
  const find = key => {
    let at = 0, found = null;
    at ^= offset(unit(0));
    for (const b of key) {
      if (b === 0 || 4 * (at ^ b) >= size) break;
      at ^= b;
      const u = unit(at);
      if ((u & 0x800000FF) >>> 0 !== b) break;
      at ^= offset(u);
      if ((u >>> 8) & 1) found ??= unit(at) & 0x7FFFFFFF; // the shortest, as `tokenizers` takes it
    }
    if (found === null) return null;
    return words.decode(texts.subarray(found, texts.indexOf(0, found)));
  };
  const clusters = new Intl.Segmenter("en", {granularity: "grapheme"});
  return text => {
    let out = "";
    for (const {segment} of clusters.segment(text)) {
      const key = utf8.encode(segment), whole = key.length < 6 ? find(key) : null;
      out += whole ?? each(segment, c => find(utf8.encode(c)) ?? c);
    }
    return out;
  };
}

const NORMALIZERS = {
  BertNormalizer: bert,
  Lowercase: () => lower,
  NFC: () => t => t.normalize("NFC"), NFD: () => t => t.normalize("NFD"),
  NFKC: () => t => t.normalize("NFKC"), NFKD: () => t => t.normalize("NFKD"),
  StripAccents: () => t => t.replace(/\p{M}/gu, ""),
  Strip: n => t => {
    if (n.strip_left) t = t.replace(new RegExp(`^[${SPACE}]+`, "u"), "");
    return n.strip_right ? t.replace(new RegExp(`[${SPACE}]+$`, "u"), "") : t;
  },
  Replace: n => { const p = pattern(n.pattern); return t => t.replace(p, () => n.content) },
  Prepend: n => t => t && n.prepend + t,
  Precompiled: n => precompiled(n.precompiled_charsmap),
  Sequence: n => { const all = n.normalizers.map(normalizer); return t => all.reduce((x, f) => f(x), t) },
};
const normalizer = n => made(NORMALIZERS, "normalizer", n, t => t);

// Pre-tokenizers: pieces {text, first} -> pieces; `first`: at the beginning of the whole text

const BYTES = (() => { // GPT-2's printable character for each byte
  const shown = [[33, 126], [161, 172], [174, 255]], table = [];
  let next = 256;
  for (let b = 0; b < 256; b++) table.push(String.fromCharCode(shown.some(([x, y]) => x <= b && b <= y) ? b : next++));
  return table;
})();
const inBytes = text => Array.from(utf8.encode(text), b => BYTES[b]).join("");
const GPT2 = new RegExp(`'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^${SPACE}\\p{L}\\p{N}]+|[${SPACE}]+(?![^${SPACE}])|[${SPACE}]+`, "gu");

// Cut at the matches of a pattern; what becomes of the matches is their `behavior`.
function cut(text, regex, behavior, invert = false) {
  let parts = [], at = 0;
  for (const m of text.matchAll(regex)) {
    if (!m[0]) continue;
    if (m.index > at) parts.push([text.slice(at, m.index), invert]);
    parts.push([m[0], !invert]);
    at = m.index + m[0].length;
  }
  if (at < text.length) parts.push([text.slice(at), invert]);
  if (behavior === "Removed") return parts.filter(([, hit]) => !hit).map(([t]) => t);
  if (behavior === "Isolated") return parts.map(([t]) => t);
  const out = [];
  let joins = false; // does the next part join the last one?
  for (const [t, hit] of parts) {
    const join = behavior === "MergedWithPrevious" ? hit && joins : behavior === "MergedWithNext" ? !hit && joins : joins && hit;
    if (join && out.length) out[out.length - 1] += t; else out.push(t);
    joins = behavior === "MergedWithPrevious" ? !hit : hit;
  }
  return out;
}
const cutting = (regex, behavior, invert) => piece =>
  cut(piece.text, regex, behavior, invert).map((text, i) => ({text, first: piece.first && !i && piece.text.startsWith(text)}));

function metaspace(p) {
  const mark = p.replacement ?? "▁", scheme = p.prepend_scheme ?? (p.add_prefix_space === false ? "never" : "always");
  const marks = new RegExp(escaped(mark), "gu");
  return piece => {
    let text = piece.text.replaceAll(" ", mark);
    if ((scheme === "always" || (scheme === "first" && piece.first)) && !text.startsWith(mark)) text = mark + text;
    return p.split === false ? [{text, first: piece.first}] : cutting(marks, "MergedWithNext")({text, first: piece.first});
  };
}

function byteLevel(p) {
  return piece => {
    const text = p.add_prefix_space && !piece.text.startsWith(" ") ? " " + piece.text : piece.text;
    const parts = p.use_regex === false ? [text] : cut(text, GPT2, "Isolated");
    return parts.map((t, i) => ({text: inBytes(t), first: piece.first && !i}));
  };
}

const PRE_TOKENIZERS = {
  BertPreTokenizer: () => {
    const spaces = cutting(new RegExp(`[${SPACE}]`, "gu"), "Removed"), marks = cutting(PUNCTUATION, "Isolated");
    return piece => spaces(piece).flatMap(marks);
  },
  Whitespace: () => cutting(new RegExp(`[${WORD}]+|[^${WORD}${SPACE}]+`, "gu"), "Removed", true),
  WhitespaceSplit: () => cutting(new RegExp(`[${SPACE}]`, "gu"), "Removed"),
  Punctuation: p => cutting(PUNCTUATION, p.behavior ?? "Isolated"),
  Digits: p => cutting(p.individual_digits ? /\p{N}/gu : /\p{N}+/gu, "Isolated"),
  Split: p => cutting(pattern(p.pattern), p.behavior, p.invert),
  Metaspace: metaspace,
  ByteLevel: byteLevel,
  Sequence: p => {
    const all = p.pretokenizers.map(preTokenizer);
    return piece => all.reduce((pieces, f) => pieces.flatMap(f), [piece]);
  },
};
const preTokenizer = p => made(PRE_TOKENIZERS, "pre-tokenizer", p, piece => [piece]);

// Models: a piece's text -> ids

function wordPiece(m) {
  const ids = new Map(Object.entries(m.vocab)), unknown = ids.get(m.unk_token);
  return text => {
    const chars = [...text], out = [];
    if (chars.length > m.max_input_chars_per_word) return [unknown];
    for (let start = 0; start < chars.length;) {
      let end = chars.length, id;
      for (; end > start; end--) {
        id = ids.get((start ? m.continuing_subword_prefix : "") + chars.slice(start, end).join(""));
        if (id !== undefined) break;
      }
      if (id === undefined) return [unknown];
      out.push(id);
      start = end;
    }
    return out;
  };
}

function inFallback(ids) { // ids of <0x..> for a text's bytes, or null
  return text => {
    const found = Array.from(utf8.encode(text), b => ids.get(`<0x${b.toString(16).toUpperCase().padStart(2, "0")}>`));
    return found.includes(undefined) ? null : found;
  };
}

function symbols(m, ids, text) { // the ids of a piece's characters, before any merge
  const chars = [...text], bytes = inFallback(ids), out = [], unknown = ids.get(m.unk_token);
  let last = false;
  chars.forEach((c, i) => {
    const name = (i ? m.continuing_subword_prefix ?? "" : "") + c + (i + 1 === chars.length ? m.end_of_word_suffix ?? "" : "");
    const id = ids.get(name), spelled = id === undefined && m.byte_fallback ? bytes(name) : null;
    if (id !== undefined) out.push(id);
    else if (spelled) out.push(...spelled);
    else if (unknown !== undefined && !(m.fuse_unk && last)) out.push(unknown);
    last = id === undefined && !spelled;
  });
  return out;
}

function bpe(m) {
  const ids = new Map(Object.entries(m.vocab)), merges = new Map(), known = new Map();
  const skip = (m.continuing_subword_prefix ?? "").length;
  m.merges.forEach((pair, rank) => {
    const [a, b] = typeof pair === "string" ? pair.split(" ") : pair;
    const key = `${ids.get(a)} ${ids.get(b)}`;
    merges.set(key, [rank, ids.get(a + b.slice(skip))]);
  });
  const merge = text => {
    const whole = m.ignore_merges ? ids.get(text) : undefined;
    if (whole !== undefined) return [whole];
    const parts = symbols(m, ids, text);
    for (;;) {
      let best = null, at = -1;
      for (let i = 0; i + 1 < parts.length; i++) {
        const found = merges.get(`${parts[i]} ${parts[i + 1]}`);
        if (found && (!best || found[0] < best[0])) [best, at] = [found, i];
      }
      if (!best) return parts;
      parts.splice(at, 2, best[1]);
    }
  };
  return text => {
    if (!known.has(text)) known.set(text, merge(text));
    return known.get(text);
  };
}

function unigram(m) {
  const ids = new Map(m.vocab.map(([word], id) => [word, id])), bytes = inFallback(ids);
  const longest = m.vocab.reduce((n, [word]) => Math.max(n, [...word].length), 1);
  const worst = m.vocab.reduce((low, [, score]) => Math.min(low, score), Infinity) - 10;
  const path = chars => { // best[i]: (score, start, known?) of the best way to write the first i characters
    const best = Array.from({length: chars.length + 1}, () => null);
    best[0] = [0];
    for (let start = 0; start < chars.length; start++) {
      let single = false, word = "";
      const offer = (end, score, known) => {
        const sum = best[start][0] + score;
        if (!best[end] || sum > best[end][0]) best[end] = [sum, start, known];
      };
      for (let end = start + 1; end <= Math.min(chars.length, start + longest); end++) {
        const id = ids.get(word += chars[end - 1]);
        if (id === undefined) continue;
        offer(end, m.vocab[id][1], id !== m.unk_id);
        single ||= end === start + 1;
      }
      if (!single) offer(start + 1, worst, false);
    }
    return best;
  };
  return text => {
    const chars = [...text], best = path(chars), words = [];
    let loose = false; // unknown characters beside each other are one token
    for (let end = chars.length; end > 0; end = best[end][1]) {
      const word = chars.slice(best[end][1], end).join("");
      if (!best[end][2] && loose) words[0] = word + words[0]; else words.unshift(word);
      loose = !best[end][2];
    }
    return words.flatMap(w => ids.get(w) ?? (m.byte_fallback && bytes(w)) ?? m.unk_id).flatMap(x => x === false ? m.unk_id : x);
  };
}

function wordLevel(m) {
  const ids = new Map(Object.entries(m.vocab)), unknown = ids.get(m.unk_token);
  return text => [ids.get(text) ?? unknown].filter(id => id !== undefined);
}

const MODELS = {WordPiece: wordPiece, BPE: bpe, Unigram: unigram, WordLevel: wordLevel};

// Added tokens stand in the text itself, such as [MASK]

function addedTokens(tokens) { // text -> [[text, id or null], ...]
  if (!tokens.length) return text => text ? [[text, null]] : [];
  const sorted = [...tokens].sort((a, b) => b.content.length - a.content.length), by = new Map(sorted.map(t => [t.content, t]));
  const regex = new RegExp(sorted.map(t => escaped(t.content)).join("|"), "gu"), letter = new RegExp(`[${WORD}]`, "u");
  const alone = (text, a, b) => !letter.test([...text.slice(0, a)].at(-1) ?? "") && !letter.test([...text.slice(b)][0] ?? "");
  return text => {
    const parts = [];
    let at = 0;
    for (const m of text.matchAll(regex)) {
      const token = by.get(m[0]);
      let start = m.index, end = start + m[0].length;
      if (start < at || (token.single_word && !alone(text, start, end))) continue;
      if (token.lstrip) while (start > at && blank.test(text[start - 1])) start--;
      if (token.rstrip) while (end < text.length && blank.test(text[end])) end++;
      if (start > at) parts.push([text.slice(at, start), null]);
      parts.push([m[0], token.id]);
      at = end;
    }
    if (at < text.length) parts.push([text.slice(at), null]);
    return parts;
  };
}

// Post-processors: ids of one or two texts -> {ids, types}

const SINGLE = [{Sequence: {id: "A", type_id: 0}}], PAIR = [...SINGLE, {Sequence: {id: "B", type_id: 1}}];
const special = (name, type_id = 0) => ({SpecialToken: {id: name, type_id}});
function wrapped(cls, sep, second) { // cls text sep, and what follows of a pair
  const single = [special(cls[0]), ...SINGLE, special(sep[0])];
  return {single, pair: [...single, ...second], special_tokens: {[cls[0]]: {ids: [cls[1]]}, [sep[0]]: {ids: [sep[1]]}}};
}
const POST_PROCESSORS = {
  TemplateProcessing: p => p,
  BertProcessing: ({cls, sep}) => wrapped(cls, sep, [PAIR[1], special(sep[0], 1)]),
  RobertaProcessing: ({cls, sep}) => wrapped(cls, sep, [special(sep[0]), {Sequence: {id: "B", type_id: 0}}, special(sep[0])]),
  ByteLevel: () => null,
  Sequence: p => p.processors.map(postProcessor).find(Boolean) ?? null,
};
const postProcessor = p => made(POST_PROCESSORS, "post-processor", p, null);

// How many tokens of two texts fit into `room`, the longest first
function fitting(a, b, room) {
  if (b === null) return [Math.min(a, room), null];
  if (a + b <= room) return [a, b];
  let [n, m] = [Math.min(a, b), Math.max(a, b)];
  m = n > room ? n : Math.max(n, room - n);
  if (n + m > room) [n, m] = [Math.floor(room / 2), Math.floor(room / 2) + room % 2];
  return a > b ? [m, n] : [n, m];
}

return function makeTokenizer(spec, most = Infinity) {
  const normalize = normalizer(spec.normalizer), split = preTokenizer(spec.pre_tokenizer), template = postProcessor(spec.post_processor);
  const model = made(MODELS, "model", spec.model);
  const added = spec.added_tokens ?? [], raw = addedTokens(added.filter(t => !t.normalized));
  const later = addedTokens(added.filter(t => t.normalized).map(t => ({...t, content: normalize(t.content)})));
  const names = [];
  for (const [word, id] of Array.isArray(spec.model.vocab) ? spec.model.vocab.map(([w], i) => [w, i]) : Object.entries(spec.model.vocab)) names[id] = word;
  for (const t of added) names[t.id] = t.content;

  const plain = text => raw(text.toWellFormed?.() ?? text).flatMap(([part, id], i) => {
    if (id !== null) return [id];
    return later(normalize(part)).flatMap(([piece, known], j) => known !== null ? [known]
      : split({text: piece, first: !i && !j}).filter(p => p.text).flatMap(p => model(p.text)));
  });

  // Ids of special tokens and sequences, in their order; `origin` numbers each sequence's tokens, -1 for special ones
  const build = (a, b) => {
    const parts = template ? (b === null ? template.single : template.pair) : (b === null ? SINGLE : PAIR);
    const count = parts.flatMap(p => p.SpecialToken ? template.special_tokens[p.SpecialToken.id].ids : []).length;
    const [n, m] = fitting(a.length, b && b.length, Math.max(most - count, 0)), out = {ids: [], types: [], origin: []};
    const left = (spec.truncation?.direction ?? "Right") === "Left";
    const keep = (ids, k) => ids.map((id, i) => [id, i]).slice(left ? ids.length - k : 0, left ? ids.length : k);
    for (const p of parts) {
      const rows = p.SpecialToken ? template.special_tokens[p.SpecialToken.id].ids.map(id => [id, -1]) : p.Sequence.id === "A" ? keep(a, n) : keep(b, m);
      for (const [id, i] of rows) { out.ids.push(id); out.types.push((p.SpecialToken ?? p.Sequence).type_id); out.origin.push(i) }
    }
    return {...out, cut: n < a.length || (b !== null && m < b.length)};
  };
  return {
    name: id => names[id] ?? `${id}`,
    encode: (text, pair = null) => build(plain(text), pair === null ? null : plain(pair)),
    encodeWords: words => { // as Python's is_split_into_words; `words` of the answer: which word each token is of, or -1
      const parts = words.map(plain), owner = parts.flatMap((ids, i) => ids.map(() => i)), out = build(parts.flat(), null);
      return {...out, words: out.origin.map(i => i < 0 ? -1 : owner[i])};
    },
  };
};
})();
if (typeof module !== "undefined") module.exports = {makeTokenizer};
