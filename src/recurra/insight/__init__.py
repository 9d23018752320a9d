"""What a model does, made visible: the values of its equations by name, figures of its training, of
what it takes for what, of what it says along time, and of what it says will come; its gradients
through time, and its dynamics."""

from recurra.insight.captions import captions_png, draw_captions, write_page
from recurra.insight.clipping import ClippingReport, clipping_report, draw_clipping
from recurra.insight.confusion import confusion_png, draw_confusion
from recurra.insight.curves import draw_comparison
from recurra.insight.deconvnet import deconvnet_sheet, draw_deconvnet
from recurra.insight.fixed_points import (
    FixedPoints,
    Projection,
    SlowLine,
    draw_eigenvalues,
    draw_fixed_points,
    draw_slow_line,
    find_fixed_points,
    principal_components,
    slow_line,
    states_seen,
)
from recurra.insight.flossing import first_exponents, flossing_loss, watched
from recurra.insight.forecasts import draw_forecasts, forecasts_png
from recurra.insight.gradient_flow import (
    GradientFlow,
    compare_flows,
    gradient_flow,
    gradient_flow_of_loss,
)
from recurra.insight.intervening import intervene
from recurra.insight.jacobians import (
    JacobianProducts,
    JacobianSpectra,
    jacobian_products,
    jacobian_spectra,
)
from recurra.insight.lyapunov import LyapunovSpectrum, lyapunov_spectrum
from recurra.insight.partials import Partials, immediate_partials
from recurra.insight.passages import Given, Passage, Place
from recurra.insight.power import PowerMethod, power_method
from recurra.insight.skeleton import draw_motion
from recurra.insight.step import OneStep
from recurra.insight.surfaces import (
    Descent,
    Plane,
    Surface,
    cliff_descents,
    cliff_loss,
    cliff_surface,
    descend,
    draw_descents,
    draw_surface,
    filter_normalised,
)
from recurra.insight.timelines import Timeline, draw_timelines, timelines_png
from recurra.insight.tracing import Trace, trace
from recurra.insight.vanishing import CounterExample, Vanishing, counterexample, vanishing

__all__ = [
    "ClippingReport",
    "CounterExample",
    "Descent",
    "FixedPoints",
    "Given",
    "GradientFlow",
    "JacobianProducts",
    "JacobianSpectra",
    "LyapunovSpectrum",
    "OneStep",
    "Partials",
    "Passage",
    "Place",
    "Plane",
    "PowerMethod",
    "Projection",
    "SlowLine",
    "Surface",
    "Timeline",
    "Trace",
    "Vanishing",
    "captions_png",
    "cliff_descents",
    "cliff_loss",
    "cliff_surface",
    "clipping_report",
    "compare_flows",
    "confusion_png",
    "counterexample",
    "deconvnet_sheet",
    "descend",
    "draw_captions",
    "draw_clipping",
    "draw_comparison",
    "draw_confusion",
    "draw_deconvnet",
    "draw_descents",
    "draw_eigenvalues",
    "draw_fixed_points",
    "draw_forecasts",
    "draw_motion",
    "draw_slow_line",
    "draw_surface",
    "draw_timelines",
    "filter_normalised",
    "find_fixed_points",
    "first_exponents",
    "flossing_loss",
    "forecasts_png",
    "gradient_flow",
    "gradient_flow_of_loss",
    "immediate_partials",
    "intervene",
    "jacobian_products",
    "jacobian_spectra",
    "lyapunov_spectrum",
    "power_method",
    "principal_components",
    "slow_line",
    "states_seen",
    "timelines_png",
    "trace",
    "vanishing",
    "watched",
    "write_page",
]
