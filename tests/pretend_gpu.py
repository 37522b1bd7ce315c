"""A GPU that is none: tensors whose device is `pretend:0` and whose numbers stay on the CPU, in any build of torch 2.9 or later.

Operators refuse to mix them with CPU tensors, as a GPU's do, and Trainer trains there: `pytest -p pretend_gpu tests/training/test_distiller.py`
(with tests/ on PYTHONPATH) is what a GPU would say of mixed devices. It changes the whole process, so it has one of its own."""
from contextlib import nullcontext
import torch, transformers
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map

def can_pretend():
    try: from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    except ImportError: return False
    return True

class Pretended(torch.Tensor):
    "A tensor on the pretended device: its numbers are `real_`, on the CPU."
    @staticmethod
    def __new__(cls, real, requires_grad=False):
        out = torch.Tensor._make_wrapper_subclass(cls, real.shape, strides=real.stride(), storage_offset=real.storage_offset(), dtype=real.dtype,
                                                  layout=real.layout, device="pretend:0", requires_grad=requires_grad)
        out.real_ = real
        return out

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None): return on_device(func, args, kwargs or {})
    def __repr__(self): return f"Pretended({self.real_})"
    def __format__(self, spec): return self.real_.detach().__format__(spec)
    def tolist(self): return self.real_.tolist()
    def numpy(self, *args, **kwargs): raise TypeError("can't convert pretend:0 device type tensor to numpy: use Tensor.cpu() first")
    def __array__(self, *args, **kwargs): return self.numpy()
    def data_ptr(self): return self.real_.data_ptr()
    def untyped_storage(self): return self.real_.untyped_storage()
    def __reduce_ex__(self, protocol): return Pretended, (self.real_.detach(), self.requires_grad)
    def __deepcopy__(self, memo):
        if id(self) not in memo:
            new = Pretended(self.real_.detach().clone())
            memo[id(self)] = torch.nn.Parameter(new, self.requires_grad) if isinstance(self, torch.nn.Parameter) else new.requires_grad_(self.requires_grad)
        return memo[id(self)]

def real(x): return x.real_ if isinstance(x, Pretended) else x

def lstm_cell(x, h, c, b_x=None, b_h=None):
    "A GPU's own cell, which the CPU does not have."
    i, f, g, o = (x + h + sum(b for b in (b_x, b_h) if b is not None)).chunk(4, 1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    now = f * c + i * g
    return o * now.tanh(), now, torch.cat([i, f, g, o], 1)

def lstm_cell_backward(grad_h, grad_c, c, now, gates, has_bias):
    i, f, g, o = gates.chunk(4, 1)
    grad_h = torch.zeros_like(now) if grad_h is None else grad_h
    d = grad_h * o * (1 - now.tanh()**2) + (0 if grad_c is None else grad_c)
    grads = torch.cat([d * g * i * (1 - i), d * c * f * (1 - f), d * i * (1 - g**2), grad_h * now.tanh() * o * (1 - o)], 1)
    return grads, d * f, grads.sum(0) if has_bias else None

INSTEAD = {"_thnn_fused_lstm_cell": lstm_cell, "_thnn_fused_lstm_cell_backward_impl": lstm_cell_backward}

def on_device(func, args, kwargs):
    "Run an operator on the numbers; refuse it where tensors of both devices meet (a single number may come from the CPU)."
    name, to = func.overloadpacket.__name__, kwargs.get("device")
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
    here = [x for x in tensors if isinstance(x, Pretended)]
    if name == "copy_": there = isinstance(args[0], Pretended)
    else:
        odd = [x for x in tensors if not isinstance(x, Pretended) and x.dim() and name != "_to_copy"]
        # a GPU takes indices from the CPU, and nothing else
        odd = [x for x in odd if not (name in ("index", "index_put_", "index_put", "_index_put_impl_") and isinstance(args[0], Pretended)
                                      and any(x is y for y in args[1]))]
        if here and odd: raise RuntimeError(f"Expected all tensors to be on the same device, but {func} met pretend:0 and cpu")
        there = torch.device(to).type == "pretend" if to is not None else bool(here)
    args, kwargs = tree_map(real, (args, kwargs))
    if there and to is not None: kwargs["device"] = "cpu"
    kwargs.pop("pin_memory", None)
    with _disable_current_modes(): out = INSTEAD.get(name, func)(*args, **kwargs)
    same = {id(x.real_): x for x in here}
    def wrap(x): return x if not (there and isinstance(x, torch.Tensor)) else same[id(x)] if id(x) in same else Pretended(x)
    return tree_map(wrap, out)

class Pretend(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None): return on_device(func, args, kwargs or {})

class Module:
    "What torch asks of a device's module."
    is_available = is_initialized = staticmethod(lambda: True)
    current_device = staticmethod(lambda: 0)
    device_count = staticmethod(lambda: 1)
    _is_in_bad_fork = staticmethod(lambda: False)
    get_rng_state = staticmethod(lambda *device: torch.get_rng_state())
    set_rng_state = staticmethod(lambda state, *device: None)
    get_rng_state_all = staticmethod(lambda: [torch.get_rng_state()])
    set_rng_state_all = staticmethod(lambda states: None)
    manual_seed_all = staticmethod(lambda seed: None)
    get_amp_supported_dtype = staticmethod(lambda: [torch.bfloat16, torch.float16])

def keeping_ties(apply):
    "Module._apply gives each place its own wrapper; a tensor that is at two places stays one, as on a GPU."
    def _apply(module, fn, *args, **kwargs):
        if _apply.inside: return apply(module, fn, *args, **kwargs)
        _apply.inside, places = True, {}
        for name, p in module.named_parameters(remove_duplicate=False): places.setdefault(id(p), []).append(name.rpartition("."))
        try: apply(module, fn, *args, **kwargs)
        finally: _apply.inside = False
        for (first, _, name), *others in places.values():
            p = getattr(module.get_submodule(first), name)
            for at, _, other in others: setattr(module.get_submodule(at), other, p)
        return module
    _apply.inside = False
    return _apply

LIBRARY = []

def begin():
    "From here on the process has a device `pretend:0`, and Trainer takes it unless it is told use_cpu."
    from accelerate import PartialState
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend
    from transformers import TrainingArguments
    _setup_privateuseone_for_python_backend("pretend", Module())
    def empty_strided(size, stride, dtype=None, layout=None, device=None, pin_memory=None):
        with _disable_current_modes(): return Pretended(torch.empty_strided(size, stride, dtype=dtype))
    def copy_from(src, dst, non_blocking=False):
        with _disable_current_modes(): real(dst).copy_(real(src))
        return dst
    LIBRARY.append(torch.library.Library("aten", "IMPL"))
    LIBRARY[0].impl("empty_strided", empty_strided, "PrivateUse1") # of torch.tensor(..., device=...)
    LIBRARY[0].impl("_copy_from", copy_from, "PrivateUse1")
    Pretend().__enter__()
    device, chosen = torch.device("pretend:0"), TrainingArguments.device.fget
    def chosen_device(args):
        own = chosen(args) # sets up what Trainer asks of its arguments
        if args.use_cpu: return own
        PartialState._shared_state["device"] = device
        return device
    TrainingArguments.device = property(chosen_device)
    torch.inference_mode = lambda mode=True: torch.no_grad() if mode else nullcontext() # a wrapper cannot be an inference tensor
    torch.accelerator.synchronize = lambda *args: None
    torch.nn.Module._apply = keeping_ties(torch.nn.Module._apply)
    torch.Tensor.pin_memory = lambda x, device=None: x
    torch.serialization.add_safe_globals([Pretended])
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    torch.cpu.get_capabilities = dict # no bf16 unless it is asked for

def pytest_configure(config): begin()
