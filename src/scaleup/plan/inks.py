"""What all pictures share: colours on both pages, patterns, how wide a text is. Standard library only."""

from __future__ import annotations

WIDTH = 440  # units of a picture; on a phone they are 358 pixels
SMALL = 12  # the smallest text
FONTS = "system-ui,-apple-system,'Segoe UI','Liberation Sans',sans-serif"
INK, PAGE = ("#1b1b1b", "#ececec"), ("#ffffff", "#121212")  # on a light page, on a dark one
# After Okabe and Ito: (fill, edge) on a light page, on a dark one. Text on a fill is ink.
COLOURS = {
    "parameters": (("#cfe3f3", "#0067a3"), ("#123a56", "#5fb4e8")),
    "gradients": (("#fbdcc4", "#b34a00"), ("#5a2c0d", "#f0955a")),
    "optimizer state": (("#cdebdf", "#00795a"), ("#0d4636", "#45c9a0")),
    "activations": (("#f3d9e8", "#a3457d"), ("#522340", "#e39ac4")),
    "tokens": (("#f6eec0", "#7d6a00"), ("#463d07", "#d9c54a")),
    "idle": (("#ffffff", "#6b6b6b"), ("#1a1a1a", "#9a9a9a")),
    "plain": (("#f0f0f0", "#6b6b6b"), ("#262626", "#9a9a9a")),
    "here": (("#ffe08a", "#7d6a00"), ("#5c4a00", "#ffd24d")),
}
# In the colour of the edge: they tell kinds apart in grey.
PATTERNS = {
    "up": '<path d="M-1,9 L9,-1 M-1,1 L1,-1 M7,9 L9,7"/>',
    "down": '<path d="M-1,-1 L9,9 M7,-1 L9,1 M-1,7 L1,9"/>',
    "flat": '<path d="M0,4 L8,4"/>',
    "steep": '<path d="M4,0 L4,8"/>',
    "wide": '<path d="M-1,9 L9,-1" stroke-dasharray="2 2"/>',
    "dots": '<circle cx="2" cy="2" r="0.9"/><circle cx="6" cy="6" r="0.9"/>',
}


def wide(words: str, size: float = SMALL) -> float:
    """About how wide a text is, with slack: fonts differ from machine to machine."""
    return sum(0.33 if letter in "iljtf.,:;'|()[] " else 0.62 for letter in words) * size


def wrapped(words: str, width: float, size: float = SMALL) -> list[str]:
    """The words in lines that are about `width` wide."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and wide(longer, size) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
