"""What attention costs for short texts: `python benchmarks/gpu_attention.py`.

1,024 texts of one length, 12 heads of 64, bf16, dropout .1: each text in a row of its own, or several in rows of 128 tokens under a mask that keeps
them apart (distill_nb.kit.packing). The forward pass, and both passes, in milliseconds, by each kernel that torch has. Writes nbs/results/attention-gpu.json;
`--rehearse` has few texts on a CPU.
"""
from contextlib import nullcontext
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention as sdpa
import common
from distill_nb.kit.packing import Packing, row_places

KERNELS = {"torch's choice": None, "memory-efficient": SDPBackend.EFFICIENT_ATTENTION, "cuDNN": SDPBackend.CUDNN_ATTENTION, "plain": SDPBackend.MATH}

def masks(o):
    "What is asked, rows=None for a row of each text, and its mask (rows, 1, n, n)."
    for seq in o.lengths:
        asked, whole = dict(texts=o.texts, length=seq), torch.ones(o.texts, seq, dtype=torch.long, device=o.device)
        yield asked | dict(rows=None), whole[:, None, None].bool().expand(o.texts, 1, seq, seq)
        rows = Packing(whole, row_places(whole.cpu(), o.row).to(o.device)).row_mask()
        yield asked | dict(rows=len(rows)), rows

def timed(o, work, repeats=20):
    for _ in range(3): work()
    return 1e3 * common.timed(lambda: [work() for _ in range(repeats)], o.device)[0] / repeats

def rows(o):
    for asked, mask in masks(o):
        q, k, v = [torch.randn(len(mask), 12, mask.shape[-1], 64, device=o.device, dtype=torch.bfloat16, requires_grad=True) for _ in range(3)]
        def forward(): return sdpa(q, k, v, attn_mask=mask, dropout_p=.1)
        def both(): forward().backward(torch.ones_like(q))
        for name, kernel in KERNELS.items():
            try:
                with sdpa_kernel(kernel) if kernel else nullcontext():
                    with torch.no_grad(): alone = timed(o, forward)
                    yield dict(asked, kernel=name, forward_ms=alone, both_ms=timed(o, both))
            except RuntimeError as e: yield dict(asked, kernel=name, failed=str(e).split("\n")[0][:120])

if __name__ == "__main__":
    p = common.parser(__doc__)
    common.options(p)
    p.add_argument("--lengths", type=common.count, nargs="+", default=[8, 24, 64])
    p.add_argument("--texts", type=common.count, default=1024)
    p.add_argument("--row", type=common.count, default=128)
    o = common.of_a_gpu(p)
    if max(o.lengths) > o.row: p.error(f"--lengths {max(o.lengths)}: expected at most --row {o.row}, the tokens of a row")
    if o.rehearse: o.lengths, o.texts = [8], 64
    common.study(o, "attention-rehearsal.json" if o.rehearse else "attention-gpu.json", rows(o), settings=common.settings(o))
