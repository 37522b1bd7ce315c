"From a saved student to a folder without torch, of every kind: gate, layout, cards, the Hub, commands, bad input."
import json, re
import pytest, torch
import transformers as T
from huggingface_hub import ModelCard
from huggingface_hub.utils import filter_repo_objects
from builders import WORDS, bert, toy
from families import build
from distill_nb.data.tokens import text_rows
from distill_nb.deploy import card as cards
from distill_nb.deploy.card import export_card, push
from distill_nb.deploy.export import Gate, export_folder, load_saved, row_answers
from distill_nb.kit.errors import InputError
from distill_nb.recipes.embedding import sentence_files
from distill_nb.recipes.layers import distil_layers
from distill_nb.students.bilstm import BiLstmConfig, BiLstmForSequenceClassification
from distill_nb.training.saving import loading, metadata, model_card, save_student

onnx = [pytest.importorskip(name) for name in ("onnx", "onnxscript", "onnxruntime")]
NAMES = dict(id2label={0: "bad", 1: "good"}, label2id=dict(bad=0, good=1))
TEXTS = ["good film", "very bad dull book", "not fine", "a book never seen", "good"] * 4

def lstm():
    torch.manual_seed(0)
    return BiLstmForSequenceClassification(BiLstmConfig(
        vocab_size=len(WORDS), embedding_size=6, hidden_size=5, head_size=7, skipped_token_ids=[0, 2, 3], sep_token_id=3, **NAMES))

def small(head, **kw): return build("distilbert", getattr(T, f"AutoModel{head}"), n_layers=1, **kw)

# kind -> a student of it, the task of transformers.pipeline, and what is asked
STUDENTS = dict(
    classification=(lambda: bert(1, **NAMES), "text-classification", "good film"),
    regression=(lambda: bert(1, num_labels=1, problem_type="regression"), "text-classification", "good film"),
    multilabel=(lambda: bert(1, problem_type="multi_label_classification", **NAMES), "text-classification", "good film"),
    bilstm=(lstm, "text-classification", "good film"),
    tags=(lambda: small("ForTokenClassification", id2label={0: "O", 1: "B-x", 2: "I-x"}, label2id={"O": 0, "B-x": 1, "I-x": 2}), "token-classification", "good film"),
    spans=(lambda: small("ForQuestionAnswering"), "question-answering", dict(question="good film", context="very bad dull book")),
    words=(lambda: small("ForMaskedLM"), "fill-mask", "good [MASK]"),
    embedding=(lambda: small(""), "feature-extraction", "good film"))

@pytest.fixture(scope="module")
def served(tmp_path_factory):
    "Kind -> (folder of the student, folder of its export, gate); made when first asked for."
    from builders import make_tokenizer
    tok, made = make_tokenizer(), {}
    def get(kind):
        if kind not in made:
            home = tmp_path_factory.mktemp(kind)
            save_student(STUDENTS[kind][0](), tok, home/"student")
            gate = export_folder(load_saved(home/"student"), tok, home/"onnx", text_rows(TEXTS, tok), timed=False)
            made[kind] = home/"student", home/"onnx", gate
        return made[kind]
    return get

@pytest.mark.parametrize("kind", STUDENTS)
def test_every_kind_is_exported_in_the_usual_layout(kind, served):
    student, out, gate = served(kind)
    assert gate.difference < 1e-4 and (gate.agreement != gate.agreement) == (kind == "regression")
    names = {p.name for p in out.iterdir()}
    assert {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "export.json"} <= names and "model.safetensors" not in names
    mine, theirs = [json.loads((f/"config.json").read_text()) for f in (out, student)]
    assert all(mine.get(k) == theirs.get(k) for k in ("id2label", "problem_type", "architectures", "model_type"))
    json.loads((out/"export.json").read_text())

@pytest.mark.parametrize("kind", STUDENTS)
def test_pipelines_take_every_saved_folder(kind, served):
    student, (_, task, asked) = str(served(kind)[0]), STUDENTS[kind]
    if task not in T.pipelines.SUPPORTED_TASKS: # the card says another way
        assert task == "question-answering"
        scope = {}
        exec(loading(task, student), scope)
        z = scope["model"](**scope["words"](*asked.values(), return_tensors="pt"))
        assert z.start_logits.shape == z.end_logits.shape
        return
    said = T.pipeline(task, model=student)(asked)
    if task == "text-classification": assert said[0]["label"] in ({"bad", "good"} if kind != "regression" else {"LABEL_0"})
    if kind == "tags": assert {w["entity"] for w in said} <= {"B-x", "I-x"}
    if kind == "words": assert len(said) == 5 and all(isinstance(w["token_str"], str) for w in said)
    if kind == "embedding": assert len(said[0]) == 4 and len(said[0][0]) == 24

def test_the_exported_tokenizer_pads_and_truncates(served):
    from tokenizers import Tokenizer
    _, out, _ = served("classification")
    rows = Tokenizer.from_file(str(out/"tokenizer.json")).encode_batch(["good " * 2000, "good"])
    assert [len(r.ids) for r in rows] == [512, 512] and sum(rows[1].attention_mask) == 3
    assert len(T.AutoTokenizer.from_pretrained(out)("good").input_ids) == 3 # transformers does as it is told

def test_a_model_that_reads_its_padding_is_compared_on_equal_batches(tok, tmp_path):
    "ConvBERT's convolutions do: alone and in a batch it answers differently, in torch and in the graph alike."
    model = build("convbert", vocab_size=len(WORDS), pad_token_id=0)
    rows = text_rows(TEXTS, tok)
    alone, padded = [row_answers(model, rows, tok, n) for n in (1, 32)]
    assert max(float((a["logits"] - b["logits"]).abs().max()) for a, b in zip(alone, padded)) > .01
    assert export_folder(model, tok, tmp_path/"o", rows, timed=False).difference < 1e-4

# The gate

def spoiled(monkeypatch, by=.1):
    "A graph whose answers are off, as a faulty exporter would write it."
    from distill_nb.deploy import export
    real = export.OnnxModel.forward
    def forward(self, *args, **kw):
        out = real(self, *args, **kw)
        out["logits"] = out["logits"] * (1 + by) + by
        return out
    monkeypatch.setattr(export.OnnxModel, "forward", forward)

def test_a_graph_that_differs_is_refused_and_leaves_nothing(tok, tmp_path, monkeypatch):
    spoiled(monkeypatch)
    model = bert(1, num_labels=1, problem_type="regression")
    with pytest.raises(InputError, match=r"the graph's probabilities differ by .* on 20 rows: expected 0.0001 or less"):
        export_folder(model, tok, tmp_path/"o", text_rows(TEXTS, tok), timed=False)
    assert not list(tmp_path.iterdir())
    export_folder(model, tok, tmp_path/"o", text_rows(TEXTS, tok), timed=False, tolerance=1.) # unless told

@pytest.mark.parametrize("metric, agreement, lost", [("accuracy", .5, .02), (None, .97, .03), (None, float("nan"), .4)])
def test_what_int8_may_lose(metric, agreement, lost):
    gate = Gate(100, .4, agreement, {}, metric, .9, .88)
    assert gate.lost == pytest.approx(lost)
    gate.check(int8=True, drop=lost + 1e-6)
    with pytest.raises(InputError, match="the int8 graph loses"): gate.check(int8=True, drop=lost - 1e-3)

# Cards

def test_a_card_is_valid_metadata_and_nothing_of_the_data_is_markup(tok, tmp_path):
    task = toy()
    task.name = "a\n---\n<script>alert('x')</script>: [b](c)"
    from distill_nb.measure.report import Report
    report = Report(task.name, "accuracy").add("student, distilled", dict(accuracy=.5, f1=float("nan")))
    text = model_card("na`me\n---\nx: <b>", bert(**NAMES), "user/teacher", task, "5*SoftTargets()", report=report, licence="mit")
    found = ModelCard(text).data
    assert (found.base_model, found.license, found.pipeline_tag, found.metrics) == ("user/teacher", "mit", "text-classification", ["accuracy"])
    assert found.eval_results[0].metric_value == .5 and found.library_name == "transformers"
    body = text.split("\n---\n", 1)[1]
    outside = re.sub(r"^```.*?^```", "", body, flags=re.M | re.S)
    assert "<b>" not in outside and "\n---" not in outside and "`a --- <script>" in outside

@pytest.mark.parametrize("teacher, base", [("user/teacher", "user/teacher"), ("teacher", None), ("/a/b/c", None), ("a b/c", None)])
def test_only_names_of_the_hub_are_base_models(teacher, base):
    assert metadata("x", "text-classification", teacher, toy()).base_model == base

def test_a_recipe_s_card_says_how_to_make_it_again(tuned, tmp_path):
    done = distil_layers(toy(), str(tuned), layers=2, baseline=False, max_steps=1, disable_tqdm=True, eval_strategy="no", seed=3, use_cpu=True)
    assert done.call.startswith("distil_layers(load_task('toy'), teacher='tuned', layers=2, baseline=False, max_steps=1")
    text = (done.save(tmp_path/"s")/"README.md").read_text()
    assert done.call in text and "seed 3" in text and str(tmp_path) not in text and "fingerprint `" in text
    assert ModelCard(text).data.eval_results[0].metric_type == "accuracy"
    gate = Gate(2, 1e-6, 1., dict(model=1., graph=1.))
    exported = ModelCard(export_card(tmp_path/"s", gate))
    assert exported.data.library_name == "onnx" and exported.data.eval_results and "## As an ONNX graph" in exported.text

# The Hub: a stub, never the network

class Hub:
    def __init__(self, *_): self.told = []
    def create_repo(self, name, **how): self.told.append((name, how["private"]))
    def upload_folder(self, **how):
        self.told.append((how["repo_id"], *how["allow_patterns"]))
        return "sent"

def test_push_sends_only_what_we_wrote(served):
    student, _, _ = served("classification")
    hub = Hub()
    (student/"notes.txt").write_text("mine")
    assert push(student, "user/name", api=hub) == "sent"
    (student/"notes.txt").unlink()
    assert hub.told[0] == ("user/name", True) and "model.safetensors" in hub.told[1] and "notes.txt" not in hub.told[1]

def test_push_sends_how_an_embedder_pools_and_what_was_edited(tok, tmp_path):
    "The Hub's own filter decides: a folder's name alone lets none of its files through, and whoever loads the model then pools otherwise."
    def also(new): sentence_files(new, 16, pool="cls")
    out, hub = save_student(bert(1).base_model, tok, tmp_path/"m", "card", also=also), Hub()
    (out/"README.md").write_text("a card that I wrote")
    (out/"notes.txt").write_text("mine")
    push(out, "user/name", api=hub)
    files = [p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()]
    sent = {*filter_repo_objects(files, allow_patterns=[*hub.told[1][1:]])}
    assert {*files} - sent == {"notes.txt", ".distill_nb.json"} and {"1_Pooling/config.json", "README.md"} <= sent
    (out/"model.safetensors").write_bytes(b"half")
    with pytest.raises(InputError, match="model.safetensors changed or lost"): push(out, "user/name", api=hub)

# The command

def test_export_command(shell, served, csv, tmp_path, monkeypatch):
    student, _, _ = served("classification")
    monkeypatch.setattr(cards, "HfApi", Hub)
    code, out, err = shell("export", student, "--task", csv, "--out", tmp_path/"o", "--json", "--no-timed", "--push", "user/x", "--int8", "--drop", 1)
    told = json.loads(out)
    assert code == 0 and told["metric"] == "accuracy" and told["pushed"] == "sent" and "Folder: " in err
    card = ModelCard.load(tmp_path/"o"/"README.md")
    assert "int8" in card.data.tags and "largest difference" in card.text

def bad(tmp_path, served):
    student = served("classification")[0]
    weightless, nameless, other = tmp_path/"weightless", tmp_path/"nameless", tmp_path/"other"
    weightless.mkdir(), other.mkdir()
    (weightless/"config.json").write_bytes((student/"config.json").read_bytes())
    (other/"theirs.txt").write_text("theirs")
    from builders import make_tokenizer
    save_student(bert(1), make_tokenizer(), nameless)
    writes = tmp_path/"writes"
    T.GPT2LMHeadModel(T.GPT2Config(vocab_size=len(WORDS), n_embd=8, n_layer=1, n_head=2, n_positions=32, bos_token_id=2, eos_token_id=3)).save_pretrained(writes)
    make_tokenizer().save_pretrained(writes)
    return {
        "a folder without weights": ([weightless, "--out", tmp_path/"o"], "no weights"),
        "a head without names": ([nameless, "--out", tmp_path/"o"], "a head without names for its 2 classes"),
        "too many names": ([student, "--out", tmp_path/"o", "--labels", "a,b,c"], "2 different names"),
        "an opset": ([student, "--out", tmp_path/"o", "--opset", 9], "--opset 9"),
        "embeddings alone": ([student, "--out", tmp_path/"o", "--embeddings"], "embeddings in int8 (--embeddings): expected int8 (--int8) beside it"),
        "another format": ([student, "--out", tmp_path/"o", "--to", "tflite"], "--to tflite"),
        "something else in the folder": ([student, "--out", other], "is not empty"),
        "a disk that cannot be written": ([student, "--out", "/proc/o"], "cannot be written"),
        "its own folder": ([student, "--out", student, "--overwrite"], "is the model's own folder"),
        "a head that predicts the next word": ([writes, "--out", tmp_path/"o"], "a head of GPT2LMHeadModel: expected MaskedLM, none, or one of"),
        "no model": ([tmp_path/"none", "--out", tmp_path/"o"], "cannot be loaded"),
        "a repository": ([student, "--out", tmp_path/"o", "--push", "my model"], "--push my model")}

@pytest.mark.parametrize("case", ["a folder without weights", "a head without names", "too many names", "an opset", "embeddings alone", "another format",
                                  "something else in the folder", "a disk that cannot be written", "its own folder", "a head that predicts the next word", "no model", "a repository"])
def test_bad_input_is_one_sentence(shell, served, tmp_path, case):
    words, message = bad(tmp_path, served)[case]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} | {p: 0 for p in served("classification")[0].iterdir()}
    code, out, err = shell("export", *words)
    lines = [l for l in err.splitlines() if l.startswith("distill_nb: ") and "note: " not in l]
    assert code == 2 and len(lines) == 1 and message in lines[0] and "Traceback" not in err, err
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} | {p: 0 for p in served("classification")[0].iterdir()}
    assert after.keys() == before.keys()
