"""Models, optimisers and schedules from Python, beside what cresset.py has."""
import ctypes

import torch

import cresset as cr
from cresset import lib

_P, _I, _L, _B, _D, _S = (ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_bool,
                          ctypes.c_double, ctypes.c_char_p)
CLOSURE = ctypes.CFUNCTYPE(_D, _P)
for _name, (_result, *_arguments) in {
        "oracle_zoo_new": (_P, ctypes.c_uint64), "cr_model_free": (None, _P),
        "oracle_parameter": (_P, _P, _S, _I, _P),
        "oracle_architecture_build": (_I, _P, _S, _P, _I, _P),
        "oracle_architecture_run": (_P, _P, _S, _P, _P),
        "oracle_auxiliary": (_P, _I), "oracle_auxiliary_weight": (_D,),
        "oracle_zoo_name": (_S, _P, _I), "oracle_zoo_tensor": (_P, _P, _I, _P),
        "cr_model_tensor_count": (_I, _P), "cr_model_zero_grad": (None, _P),
        "cr_model_train": (None, _P, _B), "oracle_zoo_double": (_I, _P),
        "oracle_optim_new": (_P, _P, _S, _I, _P, _P), "cr_optim_free": (None, _P),
        "cr_optim_step": (_I, _P), "cr_optim_step_with": (_I, _P, CLOSURE, _P, _P),
        "cr_optim_group": (_I, _P, _S, _D, _D), "cr_optim_state_count": (_I, _P),
        "oracle_optim_state": (_S, _P, _I, _P), "cr_optim_state_set": (_I, _P, _S, _P),
        "cr_clip_grad_norm": (_D, _P, _D, _D), "cr_clip_grad_value": (None, _P, _D),
        "cr_schedule_step": (_P, _L, _D), "cr_schedule_multistep": (_P, _P, _I, _D),
        "cr_schedule_exponential": (_P, _D), "cr_schedule_polynomial": (_P, _L, _D),
        "cr_schedule_cosine": (_P, _L, _D), "cr_schedule_cosine_restarts": (_P, _L, _L, _D),
        "cr_schedule_linear": (_P, _L, _D, _D), "cr_schedule_constant": (_P,),
        "oracle_one_cycle": (_P, _L, _D, _B, _B), "cr_schedule_chained": (_P, _P, _I),
        "cr_schedule_sequential": (_P, _P, _P, _I), "cr_schedule_free": (None, _P),
        "cr_schedule_lr": (_D, _P, _D, _L), "cr_schedule_momentum": (_D, _P, _L),
        "oracle_plateau": (None, _I, _P, _D, _I, _I, _B, _P),
        "oracle_cross_entropy": (_P, _P, _P), "oracle_squares": (_P, _P, _P)}.items():
    _function = getattr(lib, _name)
    _function.restype, _function.argtypes = _result, _arguments


class Model:
    """A cr_model; `tensors` gives its named parameters and buffers."""

    def __init__(self, seed=0):
        self.at = lib.oracle_zoo_new(seed)

    def __del__(self):
        lib.cr_model_free(self.at)

    def parameter(self, name, value):
        sizes = (ctypes.c_int64 * max(value.dim(), 1))(*value.shape)
        own = cr.Tensor(cr.check(lib.oracle_parameter(self.at, name.encode(), value.dim(), sizes)))
        self.write(own, value)
        return own

    @staticmethod
    def write(own, value):
        with cr.frame(), cr.no_grad():
            cr.check(failed=lib.cr_copy_(own.at, cr.tensor(value.detach().clone()).at))

    def tensors(self, parameters_only=False):
        found, flag = {}, ctypes.c_bool()
        for i in range(lib.cr_model_tensor_count(self.at)):
            own = cr.Tensor(lib.oracle_zoo_tensor(self.at, i, ctypes.byref(flag)))
            if not (parameters_only and flag.value):
                found[lib.oracle_zoo_name(self.at, i).decode()] = own
        return found

    def load(self, state_dict):
        """Copies a state dict; the names must be exactly the model's."""
        own = self.tensors()
        assert set(own) == set(state_dict), set(own) ^ set(state_dict)
        for name, value in state_dict.items():
            self.write(own[name], value)

    def zero_grad(self):
        lib.cr_model_zero_grad(self.at)

    def double(self):
        cr.check(failed=lib.oracle_zoo_double(self.at))

    def train(self, on=True):
        lib.cr_model_train(self.at, on)


class Net(Model):
    """An architecture of the zoo, without dropout; a width of 0 is its own."""

    def __init__(self, name, classes, shape, small_stem=False, seed=0, width=0, auxiliary=False):
        super().__init__(seed)
        self.name = name.encode()
        self.numbers = (ctypes.c_int64 * 4)(classes, small_stem, width, auxiliary)
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        cr.check(failed=lib.oracle_architecture_build(self.at, self.name, self.numbers, len(shape),
                                                      sizes))

    def __call__(self, x):
        return cr.Tensor(cr.check(lib.oracle_architecture_run(self.at, self.name, self.numbers,
                                                              x.at)))


def auxiliary():
    """(the logits of auxiliary heads of the last run of a net, the weight of their losses)"""
    heads = []
    while at := lib.oracle_auxiliary(len(heads)):
        heads.append(cr.Tensor(at))
    return heads, lib.oracle_auxiliary_weight()


class Optimizer:
    def __init__(self, model, kind, **settings):
        names = (ctypes.c_char_p * max(len(settings), 1))(*[k.encode() for k in settings])
        values = (ctypes.c_double * max(len(settings), 1))(*[float(v) for v in settings.values()])
        self.model = model
        self.at = cr.check(lib.oracle_optim_new(model.at, kind.encode(), len(settings), names,
                                                values))

    def __del__(self):
        lib.cr_optim_free(self.at)

    def step(self, closure=None):
        if closure is None:
            cr.check(failed=lib.cr_optim_step(self.at))
        else:
            cr.check(failed=lib.cr_optim_step_with(self.at, CLOSURE(lambda _: closure()), None,
                                                   None))

    def state(self):
        """Copies of all state tensors by name."""
        at, found = ctypes.c_void_p(), {}
        for i in range(lib.cr_optim_state_count(self.at)):
            name = lib.oracle_optim_state(self.at, i, ctypes.byref(at)).decode()
            found[name] = cr.Tensor(at.value).torch()
        return found

    def load_state(self, state):
        for name, value in state.items():
            with cr.frame():
                cr.check(failed=lib.cr_optim_state_set(self.at, name.encode(),
                                                       cr.tensor(value).at))


def cross_entropy(logits, labels):
    return cr.Tensor(cr.check(lib.oracle_cross_entropy(logits.at, labels.at)))


def squares(result, target):
    return cr.Tensor(cr.check(lib.oracle_squares(result.at, target.at)))


def set_grad(tensor, value):
    with cr.frame():
        cr.check(failed=lib.cr_set_grad(tensor.at, cr.tensor(value.clone()).at))
