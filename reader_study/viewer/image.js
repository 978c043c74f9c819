"use strict";

// Loads image scripts one at a time and keeps the last few decoded: 16-bit pixels, [slice, row, column].
const ReconImages = (() => {
  const limit = 6;
  const cache = new Map(); // name -> promise of an image, oldest first
  let arrived = null;

  function decode(facts, text) {
    const binary = atob(text);
    const bytes = new Uint8Array(binary.length);
    for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
    const [slices, rows, columns] = facts.shape;
    if (bytes.length !== 2 * slices * rows * columns) throw new Error("the image file is cut short");
    // Little-endian by construction, as is every machine that runs a current browser.
    return { ...facts, slices, rows, columns, pixels: new Uint16Array(bytes.buffer) };
  }

  function load(name) {
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
          resolve(decode(facts, text));
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
    while (cache.size > limit) cache.delete(cache.keys().next().value);
    return promise;
  }

  // Called by every image script; its onload follows at once, before any other script can run.
  window.reconImage = (facts, text) => {
    arrived = { facts, text };
  };

  return { load };
})();
