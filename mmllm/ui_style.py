"""The page's style and its few lines of script. Colours come from the theme, so that dark and light both hold.

The buttons that are hidden in the chat: one of them would upload a visitor's picture or voice to Hugging Face; Gradio has no
setting for it. The chat's label would lie over its first message.
"""

CSS = """
footer { display: none !important; }
.gradio-container { max-width: 1500px !important; }
.card { border: 1px solid var(--border-color-primary); border-radius: 14px; padding: 12px; gap: 8px; }
.card:hover, .card:focus-within { box-shadow: 0 2px 12px rgb(0 0 0 / 12%); }
.item { display: flex; gap: 14px; }
.item .words { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.item h3, .grid h3 { margin: 0 0 4px; font-size: 1.1em; font-weight: 650; color: var(--body-text-color); }
.item p { margin: 2px 0; }
.facts { font-size: 0.88em; color: var(--body-text-color) !important; }
.facts span { display: inline-block; margin: 2px 4px 2px 0; padding: 0 8px; border-radius: 8px; background: var(--background-fill-secondary); }
.facts span { border: 1px solid var(--border-color-primary); }
.picture { width: 132px; height: 132px; object-fit: contain; background: white; border-radius: 8px; flex: none; }
.picture.none { display: grid; place-items: center; font-size: 0.85em; }
.picture.none { background: var(--background-fill-secondary); color: var(--body-text-color); }
details summary { cursor: pointer; padding: 4px 0; }
details ul { padding-left: 1.2em; list-style: disc; }
audio { height: 32px; vertical-align: middle; max-width: 100%; }
.shares { margin: 6px 0; font-size: 0.9em; }
.bar { display: flex; height: 8px; border-radius: 4px; overflow: hidden; background: var(--border-color-primary); }
.share { height: 100%; display: block; }
.legend { display: flex; flex-wrap: wrap; gap: 2px 12px; }
.dot { display: inline-block; width: 9px; height: 9px; border-radius: 50%; margin-right: 4px; }
.s0 { background: #0d9488; } .s1 { background: #d97706; } .s2 { background: #7c3aed; } .s3 { background: #2563eb; }
.buttons { flex-wrap: wrap; gap: 6px; align-items: center; }
.buttons button { flex: 0 1 auto; min-width: 0; max-width: 100%; overflow-wrap: anywhere; }
.card .buttons button { flex: 1 1 auto; }
.buttons > .block { flex: 0 0 auto; min-width: fit-content !important; width: auto !important; overflow: visible; background: none; }
#head { align-items: center; flex-wrap: nowrap; }
#theme { width: auto; flex: none; }
#request { border: 1px solid var(--neutral-500) !important; border-radius: 12px !important; }
#request:has(textarea:focus) { outline: 2px solid var(--color-accent); }
#chat { border: 1px solid var(--border-color-primary); border-radius: 12px; }
#chat .message-buttons:has(path[d^="M23,20a5"]) { display: none; }
#chat [data-testid=block-label] { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
#chat [data-testid=block-label] { padding: 0; border: 0; }
#chat .user .message-content { unicode-bidi: plaintext; text-align: start; }
.card .generating { animation: none !important; border-color: transparent !important; }
[data-testid=status-tracker] { display: none !important; }
button.secondary { border: 1px solid var(--border-color-primary); }
button[role=tab][aria-selected=true] { color: var(--body-text-color) !important; font-weight: 600; }
.chips label { border-radius: 999px !important; }
.comparison { overflow-x: auto; }
.comparison table { border-collapse: collapse; width: 100%; }
.comparison th, .comparison td { padding: 6px 10px; border: 1px solid var(--border-color-primary); text-align: left; }
.comparison tr.differ td { font-weight: 600; }
.comparison .picture { width: 72px; height: 72px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); gap: 12px; list-style: none; padding: 0; }
.grid { align-items: start; }
.grid h3 { display: -webkit-box; -webkit-box-orient: vertical; -webkit-line-clamp: 5; overflow: hidden; }
.grid li { border: 1px solid var(--border-color-primary); border-radius: 12px; padding: 8px; overflow-wrap: anywhere; }
button:focus-visible, summary:focus-visible, input:focus-visible, .comparison:focus-visible {
  outline: 3px solid var(--color-accent); outline-offset: 2px;
}
@media (max-width: 640px) {
  .gradio-container { padding: 4px !important; }
  #head { flex-wrap: wrap; }
  .picture { width: 84px; height: 84px; }
}
"""
# "Like" five times over tells a screen reader nothing: every control of a card is named with the card's title. The chat and the
# box get the names that Gradio shows beside them or not at all; and who records by keyboard is led to the next button, which
# takes the place of the one they pressed.
LABELS = """
() => {
  const set = (e, name, value) => { if (e && value && e.getAttribute(name) !== value) e.setAttribute(name, value); };
  const text = (where) => document.querySelector(where)?.textContent.trim();
  const name = () => {
    document.querySelectorAll(".card").forEach((card) => {
      const title = card.querySelector("h3")?.textContent.replace(/^\\d+\\. /, "");
      if (!title) return;
      set(card, "role", "group");
      set(card, "aria-label", title);
      card.querySelectorAll(".buttons button").forEach((b) => set(b, "aria-label", `${b.textContent.trim()}: ${title}`));
      card.querySelectorAll(".buttons label").forEach((l) =>
        set(l.querySelector("input"), "aria-label", `${l.textContent.trim()}: ${title}`));
    });
    set(document.querySelector("#chat [role=log]"), "aria-label", text("#chat [data-testid=block-label]"));
    set(document.querySelector("#request textarea"), "aria-label", text("#request [data-testid=block-info]"));
  };
  let step = "";
  const follow = () => {
    const next = ["record", "stop", "confirm"].find((s) => document.querySelector(`#request .${s}-button`)) ?? "";
    if (next === step || (!next && document.querySelector("#request .recording-overlay"))) return;
    step = next;
    document.querySelector(step ? `#request .${step}-button` : "#request textarea")?.focus();
  };
  new MutationObserver(() => { name(); follow(); }).observe(document.body, { childList: true, subtree: true, characterData: true });
  name();
}
"""
TO_TABLE = (
    "() => { setTimeout(() => document.querySelector('.comparison, [role=status]')?.scrollIntoView({ block: 'center' }), 100); }"
)
THEME = "() => { document.body.classList.toggle('dark'); }"
# The export never becomes a file of the server's, which anyone with its address could read: the browser makes one of the text.
SAVE = """
(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = "mmllm-profile.json";
  link.click();
  URL.revokeObjectURL(link.href);
}
"""
