"""Names of the code as the symbols of a paper: W_xh has the subscript xh, h_tilde a tilde."""

from dataclasses import dataclass

_GREEK = {
    "alpha": "α",
    "beta": "β",
    "gamma": "γ",
    "delta": "δ",
    "epsilon": "ϵ",
    "zeta": "ζ",
    "eta": "η",
    "theta": "θ",
    "iota": "ι",
    "kappa": "κ",
    "lambda": "λ",
    "mu": "μ",
    "nu": "ν",
    "xi": "ξ",
    "pi": "π",
    "rho": "ρ",
    "sigma": "σ",
    "tau": "τ",
    "upsilon": "υ",
    "phi": "ϕ",
    "chi": "χ",
    "psi": "ψ",
    "omega": "ω",
    "Gamma": "Γ",
    "Delta": "Δ",
    "Theta": "Θ",
    "Lambda": "Λ",
    "Xi": "Ξ",
    "Pi": "Π",
    "Sigma": "Σ",
    "Upsilon": "Υ",
    "Phi": "Φ",
    "Psi": "Ψ",
    "Omega": "Ω",
}
_ACCENTS = {"tilde": "\u0303", "hat": "\u0302", "bar": "\u0304", "dot": "\u0307"}
_PRIME = "prime"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """A name taken apart: base, then what stood behind underscores or as trailing digits."""

    base: str
    subscripts: tuple[str, ...]
    accents: tuple[str, ...]
    primes: str


def _parts(name: str) -> _Parts:
    base, *words = [word for word in name.split("_") if word] or ["_"]
    letters = base.rstrip("0123456789") or base
    marks = (*_ACCENTS, _PRIME)
    return _Parts(
        base=letters,
        subscripts=tuple(w for w in (base[len(letters) :], *words) if w and w not in marks),
        accents=tuple(word for word in words if word in _ACCENTS),
        primes="'" * words.count(_PRIME),
    )


def _is_greek_subscript(word: str) -> bool:
    """Subscripts are strings of letters: xi is from x to i, not the Greek letter."""
    return word in _GREEK and len(word) > 2


def latex_symbol(name: str, time: str | None = None) -> str:
    r"""The name in LaTeX: W_{xh}, \alpha_f, \tilde{h}, x', v_1; `time` is the last subscript."""
    parts = _parts(name)
    symbol = rf"\{parts.base}" if parts.base in _GREEK else _latex_word(parts.base, upright_from=2)
    for accent in parts.accents:
        symbol = rf"\{accent}{{{symbol}}}"
    indices = [
        rf"\{word}" if _is_greek_subscript(word) else _latex_word(word, upright_from=3)
        for word in parts.subscripts
    ]
    index = ",".join([*indices, time] if time else indices)
    braced = f"{{{index}}}" if len(index) > 1 else index
    return symbol + parts.primes + (f"_{braced}" if index else "")


def _latex_word(word: str, upright_from: int) -> str:
    """A few letters in italics, or an upright word."""
    if word == "_":
        return r"\_"
    is_word = len(word) >= upright_from and word.isalpha() and word.isascii()
    return rf"\mathrm{{{word}}}" if is_word else word


def plain_symbol(name: str, time: str | None = None) -> tuple[str, str]:
    """The name in Unicode, as a symbol and its subscript; `time` is the end of the subscript."""
    parts = _parts(name)
    symbol = _GREEK.get(parts.base, parts.base) + "".join(_ACCENTS[a] for a in parts.accents)
    indices = [_GREEK[w] if _is_greek_subscript(w) else w for w in parts.subscripts]
    return symbol + parts.primes, ",".join([*indices, time] if time else indices)
