"""What a notebook's page does to an output: its style, and the contrast of a text on it."""

from __future__ import annotations

HOST = (
    ".host td,.host th{text-align:right;padding:8px}.host"
    " :not(pre)>code{background:#eee;padding:1px 5px}"
)
# The contrast of an element's text with the nearest painted background, as WCAG defines it.
CONTRAST = """el => {
  const c = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (over, colour) => {
    c.fillStyle = over; c.fillRect(0,0,1,1); c.fillStyle = colour; c.fillRect(0,0,1,1);
    return [...c.getImageData(0,0,1,1).data].slice(0,3);
  };
  let back = el;
  while (back && /rgba\\(0, 0, 0, 0\\)|transparent/.test(getComputedStyle(back).backgroundColor))
    back = back.parentElement;
  const under = back ? getComputedStyle(back).backgroundColor : '#fff';
  const light = p => {
    const f = p.map(v => {
      v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    });
    return .2126*f[0] + .7152*f[1] + .0722*f[2];
  };
  const [a, b] = [light(rgb(under, getComputedStyle(el).color)), light(rgb('#fff', under))];
  return (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
}"""
