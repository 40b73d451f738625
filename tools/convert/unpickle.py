"""A pickle interpreter that can build weights and nothing else.

Python's own unpickler runs whatever callable a file names. This one never imports anything: it
walks the opcodes (pickletools.genops, which only parses) and knows a closed list of them and of
globals, each standing for a few lines below. Everything else is refused with its name. There is no
recursion, and operations, stack, nesting and sizes are bounded, so a hostile file costs at most a
bounded amount of time and memory.

The subset is what torch.save() emits for dictionaries of tensors and plain values:
  persistent id ('storage', torch.<T>Storage, key, location, count)
  torch._utils._rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata])
  torch._utils._rebuild_parameter(tensor, requires_grad, hooks)
  collections.OrderedDict(), whose state may be {'_metadata': ...} and is dropped
"""
import io
import math
import pickletools
from collections import OrderedDict

from errors import ConvertError, fail

OPS_MAX = 5_000_000
STACK_MAX = 100_000
NESTING_MAX = 32
DIMS_MAX = 8

STORAGES = {
    "DoubleStorage": "F64", "FloatStorage": "F32", "HalfStorage": "F16", "BFloat16Storage": "BF16",
    "LongStorage": "I64", "IntStorage": "I32", "ShortStorage": "I16", "CharStorage": "I8",
    "ByteStorage": "U8", "BoolStorage": "BOOL",
}
TORCH_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8",
                "uint8", "bool")


class Storage:
    """A persistent id, resolved by the container."""

    def __init__(self, member, dtype, count):
        self.member, self.dtype, self.count = member, dtype, count


class Symbol:
    """A permitted global: its name and what calling it does here (None: it cannot be called)."""

    def __init__(self, name, call=None, storage_dtype=None):
        self.name, self.call, self.storage_dtype = name, call, storage_dtype


class Mark:
    pass


MARK = Mark()
PUSH_ARG = {
    "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "INT", "FLOAT", "BINFLOAT",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
}
CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
NEW = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def load(path, data, load_storage, make_tensor):
    """The object of the pickle `data`; the two callbacks resolve storages and make tensors."""
    machine = Machine(path, load_storage, make_tensor)
    try:
        for count, (op, arg, pos) in enumerate(pickletools.genops(io.BytesIO(data))):
            if count >= OPS_MAX:
                fail(path, f"pickle of more than {OPS_MAX} operations refused")
            if op.name == "STOP":
                return machine.pop()
            machine.step(op.name, arg)
    except (IndexError, KeyError, TypeError, ValueError, OverflowError) as e:
        if isinstance(e, ConvertError):
            raise
        fail(path, f"damaged pickle: {type(e).__name__}: {str(e)[:200]}")
    fail(path, "truncated pickle: no STOP")


class Machine:
    def __init__(self, path, load_storage, make_tensor):
        self.path, self.load_storage, self.make_tensor = path, load_storage, make_tensor
        self.stack, self.memo = [], {}
        self.depth, self.held = {}, []  # nesting of each container by id; held keeps the ids alive
        self.symbols = self.permitted()

    def permitted(self):
        table = {
            "collections.OrderedDict": Symbol("collections.OrderedDict", self.ordered_dict),
            "torch._utils._rebuild_tensor_v2": Symbol("_rebuild_tensor_v2", self.rebuild_tensor),
            "torch._utils._rebuild_parameter": Symbol("_rebuild_parameter", self.rebuild_parameter),
            "torch.Size": Symbol("torch.Size", self.size),
        }
        for name, dtype in STORAGES.items():
            table[f"torch.{name}"] = Symbol(f"torch.{name}", storage_dtype=dtype)
        for name in TORCH_DTYPES:
            table[f"torch.{name}"] = Symbol(f"torch.{name}")
        return table

    def refuse(self, what):
        fail(self.path, f"refused: {what}; a weights file holds only tensors, dictionaries, lists "
                        "and plain values, and nothing in it is ever executed")

    # --- stack -----------------------------------------------------------------------------

    def push(self, value):
        if len(self.stack) >= STACK_MAX:
            fail(self.path, f"pickle stack deeper than {STACK_MAX} refused")
        self.stack.append(value)

    def pop(self):
        value = self.stack.pop()
        if value is MARK:
            raise ValueError("unexpected mark")
        return value

    def pop_to_mark(self):
        items = []
        while True:
            value = self.stack.pop()
            if value is MARK:
                return items[::-1]
            items.append(value)

    def contain(self, parent, children):
        """Note that parent now holds children; refuse past NESTING_MAX."""
        below = max((self.depth.get(id(c), 0) for c in children), default=0)
        if id(parent) not in self.depth:
            self.held.append(parent)
        self.depth[id(parent)] = max(self.depth.get(id(parent), 1), 1 + below)
        if below >= NESTING_MAX:
            fail(self.path, f"pickle nested deeper than {NESTING_MAX} levels refused")
        return parent

    # --- opcodes ---------------------------------------------------------------------------

    def step(self, name, arg):
        if name in PUSH_ARG:
            self.push(arg)
        elif name in CONSTANTS:
            self.push(CONSTANTS[name])
        elif name in NEW:
            self.push(self.contain(NEW[name](), ()))
        elif name in TUPLES:
            self.push_tuple([self.pop() for _ in range(TUPLES[name])][::-1])
        elif hasattr(self, "op_" + name.lower()):
            getattr(self, "op_" + name.lower())(arg)
        else:
            what = f"pickle operation {name}"
            if name == "INST":
                what += f" of {str(arg).replace(' ', '.')!r}"
            elif name in ("NEWOBJ", "OBJ", "NEWOBJ_EX"):
                what += f" on {self.describe_top()}"
            self.refuse(what)

    def describe_top(self):
        names = [v.name for v in self.stack[-4:] if isinstance(v, Symbol)]
        return names[0] if names else "an unnamed object"

    def op_proto(self, arg):
        if arg > 5:
            fail(self.path, f"pickle protocol {arg} is unknown")

    def op_frame(self, arg):
        pass

    def op_mark(self, arg):
        self.push(MARK)

    def op_pop(self, arg):
        self.stack.pop()

    def op_pop_mark(self, arg):
        self.pop_to_mark()

    def push_tuple(self, items):
        value = tuple(items)
        self.push(self.contain(value, value))

    def op_tuple(self, arg):
        self.push_tuple(self.pop_to_mark())

    def op_list(self, arg):
        value = self.pop_to_mark()
        self.push(self.contain(value, value))

    def op_dict(self, arg):
        items = self.pop_to_mark()
        self.push(self.contain({}, ()))
        self.set_items(items)

    def op_append(self, arg):
        self.extend([self.pop()])

    def op_appends(self, arg):
        self.extend(self.pop_to_mark())

    def extend(self, items):
        target = self.top_of(list)
        target.extend(items)
        self.contain(target, items)

    def op_setitem(self, arg):
        value = self.pop()
        self.set_items([self.pop(), value])

    def op_setitems(self, arg):
        self.set_items(self.pop_to_mark())

    def set_items(self, items):
        target = self.top_of(dict)
        if len(items) % 2:
            raise ValueError("dictionary item without a value")
        for key, value in zip(items[::2], items[1::2]):
            if not isinstance(key, (str, int, float, bytes)):  # anything else may hash recursively
                fail(self.path, f"dictionary key of type {type(key).__name__} refused")
            if key in target:
                fail(self.path, f"dictionary key {repr(key)[:80]} appears twice")
            target[key] = value
        self.contain(target, items)

    def top_of(self, kind):
        if not self.stack or not isinstance(self.stack[-1], kind):
            raise ValueError(f"expected a {kind.__name__} on the stack")
        return self.stack[-1]

    def op_put(self, arg):
        self.memo[arg] = self.stack[-1]

    op_binput = op_long_binput = op_put

    def op_memoize(self, arg):
        self.memo[len(self.memo)] = self.stack[-1]

    def op_get(self, arg):
        self.push(self.memo[arg])

    op_binget = op_long_binget = op_get

    def op_global(self, arg):
        self.push_symbol(*arg.split(" ", 1))

    def op_stack_global(self, arg):
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise ValueError("a global's name is not a string")
        self.push_symbol(module, name)

    def push_symbol(self, module, name):
        full = f"{module}.{name}"
        if full not in self.symbols:
            self.refuse(f"the pickle names {full[:200]!r}")
        self.push(self.symbols[full])

    def op_reduce(self, arg):
        args, func = self.pop(), self.pop()
        if not isinstance(func, Symbol) or func.call is None:
            name = func.name if isinstance(func, Symbol) else type(func).__name__
            self.refuse(f"a call of {name}")
        if not isinstance(args, tuple):
            raise ValueError("call arguments are not a tuple")
        self.push(func.call(*args))

    def op_build(self, arg):
        state, target = self.pop(), self.stack[-1]
        if not isinstance(target, OrderedDict) or not isinstance(state, dict) \
                or set(state) != {"_metadata"}:
            name = target.name if isinstance(target, Symbol) else type(target).__name__
            self.refuse(f"setting the state of an object of type {name}")

    def op_binpersid(self, arg):
        pid = self.pop()
        if not isinstance(pid, tuple) or len(pid) != 5 or pid[0] != "storage":
            raise ValueError("a persistent id is not ('storage', type, key, location, count)")
        _, kind, key, _, count = pid
        if not isinstance(kind, Symbol) or kind.storage_dtype is None:
            raise ValueError("a storage has no known type")
        if not isinstance(key, str) or not is_count(count):
            raise ValueError("a storage has no valid key and element count")
        self.push(self.load_storage(kind.storage_dtype, key, count))

    # --- permitted calls -------------------------------------------------------------------

    def ordered_dict(self, items=()):
        made = OrderedDict()
        if not isinstance(items, (list, tuple)):
            raise ValueError("OrderedDict of something that is not a list of pairs")
        self.push(self.contain(made, ()))
        self.set_items([part for pair in items for part in as_pair(pair)])
        return self.pop()

    def size(self, values=()):
        if not isinstance(values, (tuple, list)) or not all(map(is_count, values)):
            raise ValueError("torch.Size of something that is not a list of sizes")
        return tuple(values)

    def rebuild_parameter(self, tensor, requires_grad=False, hooks=None):
        return tensor

    def rebuild_tensor(self, storage, offset, shape, strides, requires_grad=False, hooks=None,
                       metadata=None):
        if not isinstance(storage, Storage):
            raise ValueError("a tensor without a storage")
        if not is_count(offset) or not is_dims(shape) or not is_dims(strides) \
                or len(shape) != len(strides):
            raise ValueError(f"a tensor's offset, size or stride is not a list of at most "
                             f"{DIMS_MAX} non-negative integers")
        count = math.prod(shape)
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides)) if count else 0
        if count and last >= storage.count:
            fail(self.path, f"a tensor of size {list(shape)}, stride {list(strides)}, offset "
                            f"{offset} reaches element {last} of a storage of {storage.count}")
        if count > storage.count:
            fail(self.path, f"a tensor of size {list(shape)}, stride {list(strides)} repeats a "
                            f"storage of only {storage.count} elements")
        return self.make_tensor(storage, offset, shape, strides)


def is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def is_dims(values):
    return isinstance(values, tuple) and len(values) <= DIMS_MAX and all(map(is_count, values))


def as_pair(pair):
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise ValueError("OrderedDict item that is not a pair")
    return pair
