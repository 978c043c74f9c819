"use strict";

// Which slice and pixel of one image show the place of another's: by position in mm, or by slice where none is known.
const ReconLink = (() => {
  const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];

  // [slice, row, column] of `to`, not rounded, at the same place as [slice, row, column] of `from`.
  function place(from, index, to) {
    if (!from.position || !to.position) return index;
    const away = [0, 1, 2].map((k) => from.position.origin[k] - to.position.origin[k]
      + index.reduce((sum, step, axis) => sum + step * from.spacing[axis] * from.position.axes[axis][k], 0));
    return to.position.axes.map((axis, k) => dot(away, axis) / to.spacing[k]);
  }

  const middle = (image) => [(image.slices - 1) / 2, (image.rows - 1) / 2, (image.columns - 1) / 2];

  // Scrolled together are images of one plane; the others stay where they are.
  const together = (a, b) => a.plane === b.plane;

  // The slice of `to` nearest to the middle of a slice of `from`, and how many mm away it lies.
  function follow(from, slice, to) {
    const [, row, column] = middle(from);
    const exact = place(from, [slice, row, column], to)[0];
    const nearest = Math.max(0, Math.min(to.slices - 1, Math.round(exact)));
    return { slice: nearest, away: (nearest - exact) * to.spacing[0] };
  }

  // How far the middle of `image` lies right of and below that of `first`, in mm on the screen.
  function offset(image, first) {
    if (!together(image, first)) return [0, 0];
    const index = place(image, middle(image), first);
    const from = middle(first);
    return [(index[2] - from[2]) * first.spacing[2], (index[1] - from[1]) * first.spacing[1]];
  }

  return { place, follow, together, offset };
})();
