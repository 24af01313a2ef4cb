"""Rules for media."""

from __future__ import annotations

from ganzoo.errors import UsageError
from ganzoo.testing.case import Case, Skip, rule


@rule("medium", may_skip=True)
def rows_come_back(case: Case) -> None:
    """Toy rows are stored as they are, reach a batch, and come back from it the same; written to a file that the medium reads, they are the
    same again. Pictures of them, coordinates and Python objects can be made of all."""
    import torch

    from ganzoo.data.sources import dtype_name

    kind, n = case.known_entry.build(), 12
    if not kind.toys:
        raise Skip("it has no toys")
    for field in kind.toys:
        rows = kind.toy(n, field)["x"]
        own = kind.field(tuple(rows.shape), dtype_name(rows.dtype), field)
        assert own == field, f"of its own toys it says {own}, not {field}"
        stored = kind.store(rows, field)
        assert stored.dtype == kind.dtype, f"stored rows are {stored.dtype}; the medium says {kind.dtype}"
        assert torch.equal(stored, rows), "toy rows are not stored as they are"
        settled, same = kind.settle(stored, field)
        assert torch.equal(settled, stored), "all toy rows together are not stored as they are"
        assert same == field, f"of all toy rows together it says {same}, not {field}"
        corner = kind.crop(stored, torch.zeros(n, 2, dtype=torch.int64), field)
        assert torch.equal(corner, stored), "windows as large as the rows are not the rows"
        batch = kind.to_batch(stored)
        assert torch.equal(kind.stored(batch, field), stored), "rows of a batch, saved as an output would be, are not the same again"
        which = torch.arange(n) % 2 == 0
        mirrored = kind.mirror(batch, which)
        assert (mirrored.shape, mirrored.dtype) == (batch.shape, batch.dtype), "mirroring changes the shape or the dtype"
        assert torch.equal(mirrored[~which], batch[~which]), "mirroring changes rows that are to stay"
        assert len(kind.cells(stored, field)) == n, "it draws other than one cell a row"
        assert min(kind.sheet(stored, field, 4, stored).size) > 0, "its sheet is empty"
        points = kind.coordinates(stored, field)
        assert points.shape[:1] == (n,), f"coordinates of {n} rows have the shape {tuple(points.shape)}"
        assert points.dim() == 2, f"coordinates: wanted (N, D), got {tuple(points.shape)}"
        assert points.isfinite().all(), "coordinates are not finite"
        objects = kind.objects(stored, field)
        assert len(objects) == n, f"{n} rows make {len(objects)} objects"
        again = torch.cat([row for made in objects for row in kind.rows(made, field)])
        assert torch.equal(again, stored), "rows made of its own objects are not the same again"
        kind.write(stored, case.folder, field, [f"{i:03d}" for i in range(n)])
        files = sorted(case.folder.iterdir())
        assert files, "it writes no file"
        try:
            read = torch.cat([row for file in files for row in kind.read(file, field)])
        except UsageError:  # a medium may write what it does not read
            read = stored
        assert torch.equal(read, stored), "rows that are written and read are not the same again"
        for file in files:
            file.unlink()
