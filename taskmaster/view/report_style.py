"""How the report of a run looks, where nobody forbids it: light and dark, desktop, phone and paper.
Pure: a text.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256

__all__ = ["STYLE", "STYLE_DIGEST"]

STYLE = """
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#57606a;--paper:#fff;--card:#f6f8fa;--line:#d0d7de;
--good:#116329;--held:#7d4e00;--bad:#b42318}
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--dim:#9aa4af;--paper:#0d1117;--card:#161b22;
--line:#30363d;--good:#56d364;--held:#e3b341;--bad:#ff7b72}}
*{box-sizing:border-box}
body{margin:0;color:var(--ink);background:var(--paper);font:16px/1.45 system-ui,"DejaVu Sans",sans-serif}
main{max-width:64rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem;margin:0 0 .25rem;overflow-wrap:anywhere}
h2{font-size:1.1rem;margin:1.75rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
h3{font-size:1rem;margin:.75rem 0 .25rem;overflow-wrap:anywhere}
p{margin:0 0 .5rem;overflow-wrap:anywhere}
small{color:var(--dim)}
.conclusion{font-size:1.1rem}
.conclusion.good strong{color:var(--good)}.conclusion.held strong{color:var(--held)}
.conclusion.bad strong{color:var(--bad)}
pre{margin:.25rem 0 .75rem;padding:.6rem;background:var(--card);border:1px solid var(--line);border-radius:.4rem;
white-space:pre-wrap;overflow-wrap:anywhere;font:.85rem/1.4 ui-monospace,"DejaVu Sans Mono",monospace}
code{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-size:.9em}
table{border-collapse:collapse;border:0;font-variant-numeric:tabular-nums;max-width:100%}
th,td{border:0;border-bottom:1px solid var(--line);padding:.3rem 1rem .3rem 0;text-align:left;vertical-align:top;
overflow-wrap:anywhere}
th,.short{white-space:nowrap}
.pairs th{font-weight:400;color:var(--dim);white-space:nowrap}
.rows{width:100%}.rows th{color:var(--dim);font-weight:600}
.plot{color:var(--dim)}.plot svg{display:block;width:100%;height:auto;max-width:52rem}
.kind{border-bottom:1px solid var(--line);padding-bottom:.25rem}
summary{cursor:pointer;padding:.25rem 0}
:focus-visible{outline:3px solid #2f81f7;outline-offset:2px}
@media(max-width:46rem){.pairs,.pairs tbody,.pairs tr,.pairs th,.pairs td,.rows,.rows tbody,.rows tr,.rows td
{display:block;width:100%}.rows thead{display:none}.rows tr{border-bottom:1px solid var(--line);padding:.4rem 0}
.rows td,.pairs th,.pairs td{border:0;padding:.1rem 0;white-space:normal}.rows td:empty{display:none}
.rows td[data-of]:not([data-of=""])::before{content:attr(data-of) ": ";color:var(--dim)}
.pairs td{margin-bottom:.4rem}.plot text{font-size:20px}}
@media print{details>*{display:block}pre{max-height:none}}
"""
STYLE_DIGEST = f"sha256-{b64encode(sha256(STYLE.encode()).digest()).decode()}"
"""By which a policy may allow this style, and no other."""
