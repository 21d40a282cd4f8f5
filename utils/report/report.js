"use strict";
// The gallery: cards are filled, and their pictures decoded, as they come near the window.

const read = (id) => JSON.parse(document.getElementById(id).textContent);
const { classes, palette, images } = read("index");
const list = document.getElementById("cards");
const controls = Object.fromEntries(
  ["class", "order", "search", "strength", "count"].map((id) => [id, document.getElementById(id)]),
);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// The class's colour and name, which stay on one line.
function label(index) {
  const chip = element("span", { className: "chip" });
  chip.style.background = palette[index];
  return element("span", { className: "together" }, chip, classes[index]);
}

function labels(indices) {
  if (!indices.length) return ["background only"];
  return indices.flatMap((index, place) => (place ? [", ", label(index)] : [label(index)]));
}

const named = (indices) => indices.map((index) => classes[index]).join(", ") || "background only";

// One picture: what lies below, what is laid over it, and the caption.
function cell(alt, below, over, isMap, caption) {
  const pictures = element("div", { className: "picture" });
  pictures.append(element("img", { src: below, alt: over ? "" : alt }));
  if (over) pictures.append(element("img", { src: over, alt, className: isMap ? "map" : "" }));
  return element("figure", {}, pictures, element("figcaption", {}, ...caption));
}

function fill(card) {
  const image = images[card.dataset.image];
  const { photo, saliency, cams, ...maps } = read(`pictures-${card.dataset.image}`);
  const cells = element("div", { className: "cells" });
  cells.append(cell(`Photo ${image.name}`, photo, null, false, ["photo"]));
  if (saliency) cells.append(cell(`Saliency of ${image.name}`, saliency, null, false, ["saliency"]));
  for (const [index, heat] of cams) {
    cells.append(cell(`CAM of ${classes[index]} over ${image.name}`, photo, heat, false, ["CAM: ", label(index)]));
  }
  for (const [kind, name] of [["label", "pseudo label"], ["prediction", "prediction"], ["mask", "mask"]]) {
    if (!maps[kind]) continue;
    const [map, indices] = maps[kind];
    cells.append(cell(`${name} of ${image.name}: ${named(indices)}`, photo, map, true, [`${name}: `, ...labels(indices)]));
  }
  card.append(cells);
}

function makeCard(image, place) {
  const heading = element("div", { className: "heading" }, element("h3", { textContent: image.name }));
  for (const [kind, name] of [["label", "pseudo label"], ["prediction", "prediction"]]) {
    if (image[kind] !== null) heading.append(element("span", { textContent: `${name} IoU ${percent(image[kind])}` }));
  }
  if (image.doubt !== null) heading.append(element("span", { textContent: `doubt ${percent(image.doubt)}` }));
  if (image.tags.length) heading.append(element("span", { className: "faint" }, `tags: ${named(image.tags)}`));
  const card = element("li", { className: "card" }, heading);
  card.dataset.image = place;
  return card;
}

// Images without a score come last in either direction; equal ones by name.
function compare(first, second) {
  const [kind, direction] = controls.order.value.split(":");
  const byName = first.name < second.name ? -1 : Number(first.name > second.name);
  if (!direction) return byName;
  const [a, b] = [first[kind], second[kind]];
  if (a === null || b === null) return Number(a === null) - Number(b === null) || byName;
  return (direction === "worst" ? a - b : b - a) || byName;
}

function arrange() {
  const wanted = Number(controls.class.value);
  const part = controls.search.value.trim().toLowerCase();
  const order = images.map((_, place) => place).sort((a, b) => compare(images[a], images[b]));
  let count = 0;
  for (const place of order) {
    const image = images[place];
    const isShown = (!wanted || image.classes.includes(wanted)) && image.name.toLowerCase().includes(part);
    cards[place].hidden = !isShown;
    count += isShown;
  }
  list.append(...order.map((place) => cards[place]));
  controls.count.textContent = `${count} of ${images.length} images`;
}

const cards = images.map(makeCard);
arrange();
const watch = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      watch.unobserve(target);
      fill(target);
    }
  },
  { rootMargin: "500px" },
);
cards.forEach((card) => watch.observe(card));

for (const id of ["class", "order"]) controls[id].addEventListener("change", arrange);
controls.search.addEventListener("input", arrange);
document.getElementById("controls").addEventListener("submit", (event) => event.preventDefault());
const setStrength = () => list.style.setProperty("--strength", controls.strength.value / 100);
controls.strength.addEventListener("input", setStrength);
setStrength(); // a reloaded page keeps the slider where it was
