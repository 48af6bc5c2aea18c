"""The report's style sheet and its one script: light and dark, wide and narrow."""

CSS = """
:root{color-scheme:light dark;--bg:#fff;--fg:#1b2430;--soft:#5c6875;--line:#dde2e8;--card:#f5f7f9;--own:#0b6bcb;
--goal:#b3261e;--good:#18794e;--bad:#b3261e;--band:#8a63d2;
--c0:#2f9e8f;--c1:#e08a1e;--c2:#8a63d2;--c3:#c2557a;--c4:#6b8e23;--c5:#3d7ea6;--c6:#a0703c;--c7:#77808a}
@media (prefers-color-scheme:dark){:root{--bg:#12161b;--fg:#e4e9ee;--soft:#9aa6b2;--line:#2c343d;--card:#1a2027;
--own:#58a6ff;--goal:#ff7b72;--good:#4cc38a;--bad:#ff7b72;--band:#b49af0;
--c0:#4cc2b0;--c1:#f0a848;--c2:#b49af0;--c3:#ea86a8;--c4:#a3c85a;--c5:#74b3dc;--c6:#d0a06a;--c7:#a5aeb8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1200px;padding:24px 20px 60px;background:var(--bg);color:var(--fg);
font:15px/1.5 system-ui,-apple-system,Roboto,sans-serif}
h1{font-size:22px;margin:0 0 4px}
h2{font-size:18px;margin:40px 0 8px;border-top:1px solid var(--line);padding-top:20px}
h3{font-size:16px;margin:24px 0 4px}h4{font-size:14px;margin:16px 0 2px;color:var(--soft);font-weight:600}
.verdict{font-size:19px;line-height:1.4;padding:16px 18px;margin:16px 0;background:var(--card);
border-left:5px solid var(--soft);border-radius:4px}
.verdict.win{border-color:var(--good)}.verdict.loss{border-color:var(--bad)}.verdict.tie{border-color:var(--c1)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:16px 0}
.tiles div{background:var(--card);padding:10px 14px;border-radius:4px}
.tiles b{display:block;font-size:20px;font-variant-numeric:tabular-nums}
.tiles span,.small,.legend{color:var(--soft);font-size:13px}
.scroll,.chart{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 7px;border-bottom:1px solid var(--line);white-space:nowrap}
th{color:var(--soft);font-weight:600}td.l,th.l{text-align:left}td.w{white-space:normal;min-width:220px}
tr.own td{font-weight:700;color:var(--own)}td.bad,tr.own td.bad{color:var(--bad)}tr.miss td{color:var(--soft)}
tr.part td{text-align:left;color:var(--soft);padding-top:12px;font-style:italic}
svg{display:block;width:100%;min-width:600px;height:auto}
svg text{font:11px system-ui,sans-serif;fill:var(--soft)}svg .title{font-size:10.5px}
svg .word{font-size:12px;font-weight:600}svg .heading{font-size:14px;font-weight:600;fill:var(--fg)}
.grid{stroke:var(--line);stroke-width:1}.line{fill:none;stroke:currentColor;stroke-width:1.6}.thin{stroke-width:1;
opacity:.6}.area{fill:currentColor;opacity:.35;stroke:none}.level{stroke:currentColor;stroke-dasharray:5 4}
.point{fill:currentColor;stroke:var(--bg);stroke-width:1}.hollow{fill:var(--bg);stroke:currentColor;stroke-width:2}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}
.c5{color:var(--c5)}.c6{color:var(--c6)}.c7{color:var(--c7)}.own{color:var(--own)}.oracle{color:var(--soft)}
.goal{color:var(--goal)}.demand{color:var(--fg)}.starting{color:var(--soft);stroke-dasharray:3 3}
.forecast{color:var(--own)}.p50{color:var(--c0)}.p95{color:var(--c1)}.p99{color:var(--own)}
svg text.word,svg text.note{fill:currentColor}
.legend{display:flex;flex-wrap:wrap;gap:4px 18px;margin:2px 0 10px}
.legend i{display:inline-block;width:14px;height:9px;margin-right:6px;background:currentColor;border-radius:2px}
.legend i.starting{height:2px;vertical-align:middle}.legend i.forecast{opacity:.5}
details{border-bottom:1px solid var(--line);padding:5px 0}summary{cursor:pointer}
details.group{border:0}details.group>summary{font-weight:600;padding:6px 0}
details ol{margin:4px 0 8px;color:var(--soft);font-size:13.5px}
input{font:inherit;width:100%;max-width:420px;padding:6px 10px;margin:6px 0 10px;color:var(--fg);
background:var(--card);border:1px solid var(--line);border-radius:4px}
pre{background:var(--card);padding:10px 14px;overflow-x:auto;border-radius:4px;font-size:13px}
code{font-family:ui-monospace,SFMono-Regular,Menlo,monospace}
"""

SCRIPT = """
const search=document.getElementById('search');
if(search)search.addEventListener('input',()=>{const words=search.value.toLowerCase();let shown=0;
document.querySelectorAll('#decisions details').forEach(d=>{const hit=d.textContent.toLowerCase().includes(words);
d.hidden=!hit;shown+=hit});document.getElementById('hits').textContent=shown});
"""
