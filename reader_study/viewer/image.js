"use strict";

// Loads image scripts one at a time and keeps the last few decoded: 16-bit pixels, [slice, row, column].
const ReconImages = (() => {
  // Those on the desk, those that come next, and those before.
  const limit = () => Math.max(6, 3 * (ReconSession.presentations()[0]?.images.length ?? 0));
  const cache = new Map(); // name -> promise of an image, oldest first
  let arrived = null;

  // The SHA-256 of the facts and the pixels; reader_study/packages.py computes the same.
  async function digest(facts, bytes) {
    const head = new TextEncoder().encode(`${ReconStore.canonical(facts)}\n`);
    const whole = new Uint8Array(head.length + bytes.length);
    whole.set(head);
    whole.set(bytes, head.length);
    const mark = await crypto.subtle.digest("SHA-256", whole);
    return [...new Uint8Array(mark)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  }

  async function decode(facts, text, expected) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
    const [slices, rows, columns] = facts.shape;
    if (bytes.length !== 2 * slices * rows * columns) throw new Error("the image file is cut short");
    // Little-endian by construction, as is every machine that runs a current browser.
    const sha256 = await digest(facts, bytes);
    if (sha256 !== expected) throw new Error("the image file is not the one that was exported");
    return { ...facts, slices, rows, columns, sha256, pixels: new Uint16Array(bytes.buffer) };
  }

  function load(name, expected) {
    if (cache.has(name)) {
      const known = cache.get(name);
      cache.delete(name);
      cache.set(name, known);
      return known;
    }
    const promise = new Promise((resolve, reject) => {
      const script = document.createElement("script");
      script.src = `images/${name}.js`;
      script.onload = () => {
        try {
          if (!arrived) throw new Error("the image file is damaged");
          const { facts, text } = arrived;
          arrived = null;
          resolve(decode(facts, text, expected));
        } catch (error) {
          reject(error);
        }
        script.remove();
      };
      script.onerror = () => {
        script.remove();
        reject(new Error("the image file is missing"));
      };
      document.head.append(script);
    });
    promise.catch(() => cache.delete(name));
    cache.set(name, promise);
    while (cache.size > limit()) cache.delete(cache.keys().next().value);
    return promise;
  }

  // Called by every image script; its onload follows at once, before any other script can run.
  window.reconImage = (facts, text) => {
    arrived = { facts, text };
  };

  return { load };
})();
