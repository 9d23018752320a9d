"""The process that JAX lives in: lax.scan under jit, and the gradients by jax.grad.

A second thread pool beside torch's would spin against it, so JAX has a process of its own. It
waits on a pipe while the other sides run, and takes its own time. Run by `jax_scan`, which starts
it with the number of its threads; this module imports neither torch nor recurra.

Cells are written as a JAX user writes them: the step is the equations, scan does the rest. p maps
our parameters' names to arrays; x [T, B, I].
"""

import os
import pickle
import sys
import time
import traceback
from typing import Any


def main() -> None:
    """Answer requests on the pipe until it closes."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nothing else may write there
    threads = int(sys.argv[1])
    # XLA makes as many threads as the process may use cores
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    worker = None
    while True:
        try:
            request, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            worker = worker or _Worker()
            reply = ("done", getattr(worker, request)(*arguments))
        except Exception:  # whatever it is, the other side has to know
            reply = ("failed", traceback.format_exc())
        pickle.dump(reply, replies, protocol=pickle.HIGHEST_PROTOCOL)
        replies.flush()


class _Worker:
    """The job that is loaded, compiled."""

    def load(self, name: str, x: Any, parameters: dict[str, Any], d_y: Any) -> str:
        """Compile a cell for a job; returns JAX's version."""
        import jax
        import jax.numpy as jnp

        cell = _cells()[name]
        hidden_size = d_y.shape[-1]

        def forward(x: Any, p: dict[str, Any]) -> Any:
            zeros = jnp.zeros((x.shape[1], hidden_size))

            def step(states: tuple[Any, ...], x_t: Any) -> tuple[tuple[Any, ...], Any]:
                states = cell(p, x_t, *states)
                return states, states[0]

            states = (zeros,) * (1 if name in _ONE_STATE else 2)
            return jax.lax.scan(step, states, x)[1]

        def loss(x: Any, p: dict[str, Any], d_y: Any) -> Any:
            return jnp.vdot(forward(x, p), d_y)

        self._arguments = jax.device_put((x, parameters, d_y))
        self._forward = jax.jit(forward)
        self._train = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))
        self._run()
        return jax.__version__

    def results(self) -> dict[str, Any]:
        """The output and the gradients, as arrays."""
        import numpy as np

        x, parameters, _ = self._arguments
        _, (d_x, d_parameters) = self._train(*self._arguments)
        found = {"y": self._forward(x, parameters), "x": d_x, **d_parameters}
        return {name: np.asarray(value) for name, value in found.items()}

    def turn(self, calls: int) -> float:
        """Seconds for one call of so many."""
        if calls > 1:
            self._run()
        start = time.perf_counter()
        for _ in range(calls):
            self._run()
        return (time.perf_counter() - start) / calls

    def _run(self) -> None:
        import jax

        jax.block_until_ready(self._train(*self._arguments))


_ONE_STATE = {"mut1", "mut2"}


def _cells() -> dict[str, Any]:
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid
    from jax.numpy import tanh

    def normalised(v: Any, gain: Any, bias: Any) -> Any:
        mean = v.mean(axis=-1, keepdims=True)
        centred = v - mean
        variance = jnp.square(centred).mean(axis=-1, keepdims=True)
        return gain * centred * jax.lax.rsqrt(variance + 1e-5) + bias

    def mut1(p: Any, x: Any, h: Any) -> Any:
        z = sigmoid(x @ p["W_xz"].T + p["b_z"])
        r = sigmoid(x @ p["W_xr"].T + h @ p["W_hr"].T + p["b_r"])
        candidate = tanh((r * h) @ p["W_hh"].T + tanh(x @ p["W_xh"].T) + p["b_h"])
        return (candidate * z + h * (1 - z),)

    def mut2(p: Any, x: Any, h: Any) -> Any:
        z = sigmoid(x @ p["W_xz"].T + h @ p["W_hz"].T + p["b_z"])
        r = sigmoid(x @ p["W_xr"].T + h @ p["W_hr"].T + p["b_r"])
        candidate = tanh((r * h) @ p["W_hh"].T + x @ p["W_xh"].T + p["b_h"])
        return (candidate * z + h * (1 - z),)

    def peephole_lstm(p: Any, x: Any, h: Any, c: Any) -> Any:
        i = sigmoid(x @ p["W_xi"].T + h @ p["W_hi"].T + p["p_i"] * c + p["b_i"])
        f = sigmoid(x @ p["W_xf"].T + h @ p["W_hf"].T + p["p_f"] * c + p["b_f"])
        g = tanh(x @ p["W_xg"].T + h @ p["W_hg"].T + p["b_g"])
        c = f * c + i * g
        o = sigmoid(x @ p["W_xo"].T + h @ p["W_ho"].T + p["p_o"] * c + p["b_o"])
        return o * tanh(c), c

    def layer_norm_lstm(p: Any, x: Any, h: Any, c: Any) -> Any:
        from_x = normalised(x @ p["W_x"].T, p["a_x"], p["d_x"])
        from_h = normalised(h @ p["W_h"].T, p["a_h"], p["d_h"])
        i, f, o, g = jnp.split(from_x + from_h + p["b"], 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * tanh(g)
        return sigmoid(o) * tanh(normalised(c, p["a_c"], p["d_c"])), c

    def relay(p: Any, x: Any, h: Any, m: Any) -> Any:
        k = jax.nn.softmax(x @ p["W_xk"].T + h @ p["W_hk"].T + p["b_k"])
        r = sigmoid(x @ p["W_xr"].T + (h * m) @ p["W_mr"].T + p["b_r"])
        g = tanh(x @ p["W_xg"].T + (r * h) @ p["W_hg"].T + p["b_g"])
        m = (1 - k) * m + k * g
        return r * h + (1 - r) * tanh(g + m), m

    return {cell.__name__: cell for cell in (mut1, mut2, peephole_lstm, layer_norm_lstm, relay)}


if __name__ == "__main__":
    main()
