/* SPDX-License-Identifier: BSD-3-Clause */
/* test_invalidate.c -- truncate, punch, invalidation: what goes, what stays */
#include "invalidate.h"

#include "fixture.h"
#include "invariants.h"
#include "mock_map.h"
#include "oom.h"

enum { MIB = 1 << 20 };
static const dax_loff_t max_size = INT64_MAX - 4095;

static struct dax_device *dev;

static uint64_t offset_of(int64_t page)
{
	return (uint64_t)(page * PAGE);
}

/* ---- truncate ----------------------------------------------------------------- */

static void shrink_drops_everything(void)
{
	struct dax_mapping *mapping = new_file(dev, 3 * PMD);
	struct dax_vma *vma = map_shared(mapping, 3 * PMD);
	struct dax_vma *copy = map_private(mapping, 3 * PMD);
	uint64_t free_bytes = dax_device_free_bytes(dev);

	EQ(store(vma, 0, 'a'), 0);			/* a 2 MiB block */
	EQ(load(vma, (uint64_t)PMD), 0);		/* a 2 MiB hole */
	EQ(put(mapping, 2 * PMD, 'b'), 0);
	EQ(load(vma, 2 * (uint64_t)PMD), 'b');		/* 4 KiB */
	EQ(load(vma, 2 * (uint64_t)PMD + 5 * DAX_PAGE_SIZE), 0);
	EQ(store(copy, 2 * (uint64_t)PMD, 'c'), 0);
	check_invariants(mapping);
	EQ(dax_mapping_truncate(mapping, 2 * PMD), 0);
	check_invariants(mapping);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 2);
	EQ(gauge_of(mapping, DAX_GAUGE_COW_BYTES), 0);
	EQ(load(vma, 2 * (uint64_t)PMD), -1);
	EQ(load(copy, 2 * (uint64_t)PMD), -1);
	EQ(dax_device_free_bytes(dev), free_bytes - DAX_PMD_SIZE);
	EQ(dax_mapping_truncate(mapping, 0), 0);
	check_invariants(mapping);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_TREE_BYTES), 0);
	EQ(dax_device_free_bytes(dev), free_bytes);
	EQ(dax_mapping_truncate(mapping, 3 * PMD), 0);
	EQ(load(vma, 0), 0);
	EQ(load(copy, 2 * (uint64_t)PMD), 0);
	dax_vma_put(vma);
	dax_vma_put(copy);
	dax_mapping_put(mapping);
}

/* Each size around the edges of a page. */
static void shrink_zeroes_the_tail(void)
{
	const dax_loff_t sizes[] = { 0, 1, 4095, 4096, 4097, 8191, 8192, 8193 };

	for (int i = 0; i < 8; i++) {
		struct dax_mapping *mapping = new_file(dev, 4 * PAGE);
		struct dax_vma *vma = map_shared(mapping, 4 * DAX_PAGE_SIZE);

		EQ(fill(mapping, 0, 4 * PAGE, 'x'), 4 * PAGE);
		EQ(load(vma, 0) + load(vma, 4096) + load(vma, 8192), 3 * 'x');
		EQ(dax_mapping_truncate(mapping, sizes[i]), 0);
		EQ(dax_mapping_size(mapping), sizes[i]);
		check_invariants(mapping);
		/* The rest of the last page is zero at once, also by a load. */
		if (sizes[i] % PAGE)
			EQ(load(vma, (uint64_t)sizes[i]), 0);
		EQ(load(vma, (uint64_t)((sizes[i] + PAGE - 1) / PAGE * PAGE)), -1);
		EQ(dax_mapping_truncate(mapping, 4 * PAGE), 0);
		if (sizes[i])
			CHECK(all_bytes(mapping, 0, (size_t)sizes[i], 'x'));
		CHECK(all_bytes(mapping, sizes[i], (size_t)(4 * PAGE - sizes[i]), 0));
		EQ(load(vma, 4 * DAX_PAGE_SIZE - 1), 0);
		check_invariants(mapping);
		dax_vma_put(vma);
		dax_mapping_put(mapping);
	}
}

enum growth { BY_TRUNCATE, BY_PWRITE, BY_FALLOCATE, NR_GROWTHS };

/* Bytes stored behind the end, inside the last page, never become data. */
static void growth_zeroes_the_tail(void)
{
	for (int way = 0; way < NR_GROWTHS; way++) {
		struct dax_mapping *mapping = new_file(dev, 100);
		struct dax_vma *vma = map_shared(mapping, DAX_PAGE_SIZE);

		EQ(store(vma, 50, 'd'), 0);
		EQ(store(vma, 100, 's'), 0);
		EQ(store(vma, 4095, 's'), 0);
		if (way == BY_TRUNCATE)
			EQ(dax_mapping_truncate(mapping, 10 * PAGE), 0);
		else if (way == BY_PWRITE)
			EQ(put(mapping, 10 * PAGE - 1, 'w'), 0);
		else
			EQ(dax_mapping_fallocate(mapping, 9 * PAGE, DAX_PAGE_SIZE), 0);
		EQ(dax_mapping_size(mapping), 10 * PAGE);
		EQ(get(mapping, 50), 'd');
		CHECK(all_bytes(mapping, 100, (size_t)(8 * PAGE), 0));
		EQ(load(vma, 100), 0);
		EQ(load(vma, 4095), 0);
		check_invariants(mapping);
		dax_vma_put(vma);
		dax_mapping_put(mapping);
	}
}

/* Growth inside the page: what is between the ends is zero, too. */
static void growth_within_a_page(void)
{
	struct dax_mapping *mapping = new_file(dev, 100);
	struct dax_vma *vma = map_shared(mapping, DAX_PAGE_SIZE);

	EQ(store(vma, 150, 's'), 0);
	EQ(store(vma, 300, 's'), 0);
	EQ(put(mapping, 200, 'w'), 0);
	EQ(dax_mapping_size(mapping), 201);
	EQ(get(mapping, 150), 0);
	EQ(dax_mapping_truncate(mapping, 400), 0);
	EQ(get(mapping, 300), 0);
	EQ(get(mapping, 200), 'w');
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* The new end lies inside a dirty 2 MiB entry: its leaves go, and every page
 * that survives has a dirty entry of its own (1.26, W4). */
static void straddling_pmd(void)
{
	const dax_loff_t ends[] = { 1, 4096, PMD / 2, PMD / 2 + 5, PMD - 1 };
	const uint64_t kept[] = { 1, 1, 256, 257, 1 };

	for (int i = 0; i < 5; i++) {
		struct dax_mapping *mapping = new_file(dev, PMD);
		struct dax_vma *huge = map_shared(mapping, PMD);
		struct dax_vma *small = map_pages(mapping, PMD, RW | DAX_VM_SHARED,
						  DAX_PAGES_PTE);
		struct dax_vma *copy = map_private(mapping, PMD);

		EQ(store(huge, 0, 'a'), 0);
		EQ(stat_of(mapping, DAX_STAT_PMD_INSERT_MAPPING), 1);
		EQ(load(small, 0), 'a');
		EQ(store(copy, 0, 'c'), 0);
		EQ(store(copy, (uint64_t)PMD - 1, 'c'), 0);
		check_invariants(mapping);
		EQ(dax_mapping_truncate(mapping, ends[i]), 0);
		check_invariants(mapping);
		EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), kept[i]);
		EQ(nr_dirty(mapping), kept[i]);
		EQ(load(huge, 0), 'a');
		EQ(load(small, 0), 'a');
		EQ(load(copy, 0), 'c');		/* lies before the new end */
		EQ(dax_mapping_truncate(mapping, PMD), 0);
		EQ(load(huge, (uint64_t)PMD - 1), 0);
		EQ(load(copy, (uint64_t)PMD - 1), ends[i] == PMD - 1 ? 'c' : 0);
		check_invariants(mapping);
		dax_vma_put(huge);
		dax_vma_put(small);
		dax_vma_put(copy);
		dax_mapping_put(mapping);
	}
}

/* The same for a 2 MiB zero entry. */
static void straddling_hole(void)
{
	struct dax_mapping *mapping = new_file(dev, 2 * PMD);
	struct dax_vma *vma = map_shared(mapping, 2 * PMD);

	EQ(load(vma, 0), 0);
	EQ(load(vma, (uint64_t)PMD), 0);
	EQ(dax_mapping_truncate(mapping, PMD + 5 * PAGE), 0);
	check_invariants(mapping);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 1);
	EQ(load(vma, (uint64_t)PMD), 0);
	EQ(load(vma, (uint64_t)PMD + offset_of(5)), -1);
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

static void sizes_refused(void)
{
	struct dax_mapping *mapping = new_file(dev, 100);

	EQ(dax_mapping_truncate(mapping, -1), -EINVAL);
	EQ(dax_mapping_truncate(mapping, INT64_MIN), -EINVAL);
	EQ(dax_mapping_truncate(mapping, max_size + 1), -EFBIG);
	EQ(dax_mapping_punch_hole(mapping, -1, 1), -EINVAL);
	EQ(dax_mapping_punch_hole(mapping, 0, 0), -EINVAL);
	EQ(dax_mapping_punch_hole(mapping, max_size, 1), -EFBIG);
	EQ(dax_mapping_punch_hole(mapping, 1, UINT64_MAX), -EFBIG);
	EQ(dax_mapping_fallocate(mapping, -1, 1), -EINVAL);
	EQ(dax_mapping_fallocate(mapping, 0, 0), -EINVAL);
	EQ(dax_mapping_fallocate(mapping, 2, UINT64_MAX - 1), -EFBIG);
	EQ(dax_mapping_size(mapping), 100);
	EQ(dax_mapping_truncate(mapping, 100), 0);
	EQ(dax_mapping_truncate(mapping, max_size), 0);
	EQ(dax_mapping_punch_hole(mapping, 0, (uint64_t)max_size), 0);
	EQ(dax_mapping_truncate(mapping, 0), 0);
	check_invariants(mapping);
	dax_mapping_put(mapping);
}

/* ---- punch ---------------------------------------------------------------------- */

/* Every kind of edge: the bytes of the range are zero, no other is. */
static void punch_edges(void)
{
	const struct { dax_loff_t pos; uint64_t len; uint64_t freed; } rows[] = {
		{ 0, 4096, 1 }, { 4096, 8192, 2 }, { 0, 1, 0 }, { 4095, 1, 0 },
		{ 4095, 2, 0 }, { 100, 200, 0 }, { 100, 3996, 0 }, { 100, 3997, 0 },
		{ 100, 8092, 1 }, { 100, 8093, 1 }, { 4095, 4098, 1 }, { 0, 4097, 1 },
		{ 8191, 4097, 1 }, { 1, 20479, 4 }, { 0, 20480, 5 },
	};

	for (int i = 0; i < 15; i++) {
		struct dax_mapping *mapping = new_file(dev, 5 * PAGE);
		struct dax_vma *vma = map_shared(mapping, 5 * DAX_PAGE_SIZE);
		size_t end = (size_t)rows[i].pos + rows[i].len;
		uint64_t before;

		EQ(fill(mapping, 0, 5 * PAGE, 'x'), 5 * PAGE);
		EQ(load(vma, (uint64_t)rows[i].pos), 'x');
		EQ(load(vma, end - 1), 'x');
		before = dax_device_free_bytes(dev);
		EQ(dax_mapping_punch_hole(mapping, rows[i].pos, rows[i].len), 0);
		EQ(dax_device_free_bytes(dev) - before, rows[i].freed * DAX_PAGE_SIZE);
		CHECK(all_bytes(mapping, rows[i].pos, rows[i].len, 0));
		if (rows[i].pos)
			CHECK(all_bytes(mapping, 0, (size_t)rows[i].pos, 'x'));
		if (end < 5 * DAX_PAGE_SIZE)
			CHECK(all_bytes(mapping, (dax_loff_t)end, 5 * DAX_PAGE_SIZE - end, 'x'));
		EQ(load(vma, (uint64_t)rows[i].pos), 0);
		EQ(load(vma, end - 1), 0);
		EQ(dax_mapping_size(mapping), 5 * PAGE);
		check_invariants(mapping);
		dax_vma_put(vma);
		dax_mapping_put(mapping);
	}
}

/* A page inside a 2 MiB entry, and the parts of two of them. */
static void punch_inside_pmd(void)
{
	struct dax_mapping *mapping = new_file(dev, 3 * PMD);
	struct dax_vma *vma = map_shared(mapping, 3 * PMD);

	for (uint64_t i = 0; i < 3; i++) {
		EQ(store(vma, i * DAX_PMD_SIZE, 'a'), 0);
		EQ(store(vma, i * DAX_PMD_SIZE + offset_of(400), 'b'), 0);
	}
	EQ(stat_of(mapping, DAX_STAT_PMD_INSERT_MAPPING), 3);
	EQ(dax_mapping_punch_hole(mapping, 100 * PAGE, DAX_PAGE_SIZE), 0);
	check_invariants(mapping);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 511 + 2);
	EQ(nr_dirty(mapping), 511 + 2);			/* 1.26, W4 */
	EQ(load(vma, 0), 'a');
	EQ(load(vma, offset_of(100)), 0);
	EQ(load(vma, offset_of(400)), 'b');
	EQ(dax_mapping_punch_hole(mapping, PMD + 300 * PAGE, DAX_PMD_SIZE), 0);
	check_invariants(mapping);
	EQ(nr_dirty(mapping), 511 + 300 + 212);
	EQ(load(vma, DAX_PMD_SIZE), 'a');
	EQ(load(vma, DAX_PMD_SIZE + offset_of(400)), 0);
	EQ(load(vma, 2 * DAX_PMD_SIZE), 0);
	EQ(load(vma, 2 * DAX_PMD_SIZE + offset_of(400)), 'b');
	check_invariants(mapping);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

static void punch_beyond_the_end(void)
{
	struct dax_mapping *mapping = new_file(dev, 100);

	EQ(put(mapping, 0, 'a'), 0);
	EQ(dax_mapping_punch_hole(mapping, PAGE, 1 << 30), 0);
	EQ(dax_mapping_punch_hole(mapping, 50, 1 << 30), 0);
	EQ(dax_mapping_size(mapping), 100);
	EQ(get(mapping, 0), 'a');
	CHECK(all_bytes(mapping, 50, 50, 0));
	check_invariants(mapping);
	dax_mapping_put(mapping);
}

/* I15: a private copy stays when the file changes under it, and dies with
 * truncate. */
static void copies(void)
{
	struct dax_mapping *mapping = new_file(dev, 4 * PAGE);
	struct dax_vma *copy = map_private(mapping, 4 * DAX_PAGE_SIZE);
	struct dax_vma *vma = map_shared(mapping, 4 * DAX_PAGE_SIZE);

	EQ(fill(mapping, 0, 4 * PAGE, 'x'), 4 * PAGE);
	for (uint64_t i = 0; i < 4; i++)
		EQ(store(copy, i * DAX_PAGE_SIZE, 'c'), 0);
	EQ(get(mapping, 0), 'x');
	EQ(gauge_of(mapping, DAX_GAUGE_COW_BYTES), 4 * PAGE);
	EQ(dax_mapping_punch_hole(mapping, 0, 2 * DAX_PAGE_SIZE), 0);
	EQ(load(vma, 0), 0);
	EQ(load(copy, 0), 'c');
	EQ(load(copy, 1), 'x');			/* the rest of the page as it was */
	EQ(put(mapping, 0, 'w'), 0);
	EQ(load(copy, 0), 'c');
	check_invariants(mapping);
	EQ(dax_mapping_truncate(mapping, PAGE + 5), 0);
	check_invariants(mapping);
	EQ(gauge_of(mapping, DAX_GAUGE_COW_BYTES), 2 * PAGE);
	EQ(load(copy, 0), 'c');
	EQ(load(copy, DAX_PAGE_SIZE), 'c');	/* holds a byte of the file still */
	EQ(load(copy, 2 * DAX_PAGE_SIZE), -1);
	EQ(dax_mapping_truncate(mapping, 4 * PAGE), 0);
	EQ(load(copy, 2 * DAX_PAGE_SIZE), 0);
	dax_vma_put(copy);
	EQ(gauge_of(mapping, DAX_GAUGE_COW_BYTES), 0);
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* ---- invalidate_pages_range() ------------------------------------------------------ */

static int invalidate(struct dax_mapping *mapping, dax_pgoff_t first,
		      dax_pgoff_t last)
{
	struct percpu_area *area;
	int ret;

	MUST(!mapping_lock_shared(mapping, &area));
	ret = invalidate_pages_range(mapping, area, first, last, false, 0);
	mapping_unlock_shared(mapping, area);
	check_invariants(mapping);
	return ret;
}

/* Clean entries go with their leaves, dirty ones stay; a 2 MiB entry that is
 * dirty is met once and the loop goes on (B13). */
static void clean_ones_only(void)
{
	struct dax_mapping *mapping = new_file(dev, 4 * PMD);
	struct dax_vma *vma = map_shared(mapping, 4 * PMD);
	struct dax_vma *copy = map_private(mapping, 4 * PMD);

	EQ(load(vma, 0), 0);					/* zero, 2 MiB */
	EQ(store(vma, DAX_PMD_SIZE, 'd'), 0);			/* dirty, 2 MiB */
	EQ(put(mapping, 2 * PMD, 'r'), 0);
	EQ(load(vma, 2 * DAX_PMD_SIZE), 'r');			/* clean, 4 KiB */
	EQ(store(vma, 2 * DAX_PMD_SIZE + DAX_PAGE_SIZE, 'e'), 0);	/* dirty */
	EQ(load(vma, 2 * DAX_PMD_SIZE + offset_of(2)), 0);	/* zero, 4 KiB */
	EQ(store(copy, 2 * DAX_PMD_SIZE + offset_of(2), 'c'), 0);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 5);
	EQ(invalidate(mapping, 700, 900), -EBUSY);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 5);
	EQ(invalidate(mapping, 0, UINT64_MAX), -EBUSY);
	EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 2);
	CHECK(vma_soft_leaf(vma, 512) && vma_soft_leaf(vma, 1025));
	CHECK(!vma_soft_leaf(vma, 0) && !vma_soft_leaf(vma, 1024) &&
	      !vma_soft_leaf(vma, 1026));
	EQ(load(copy, 2 * DAX_PMD_SIZE + offset_of(2)), 'c');
	EQ(invalidate(mapping, 1026, 1500), 0);
	EQ(load(vma, 2 * DAX_PMD_SIZE), 'r');
	EQ(invalidate(mapping, 100, 100), 0);
	dax_vma_put(vma);
	dax_vma_put(copy);
	dax_mapping_put(mapping);
}

/* ---- block maps that fail ------------------------------------------------------------- */

static void failures_change_nothing(void)
{
	struct mock mock = { .truncate_ret = -ENOTSUP, .punch_ret = -ENOTSUP,
			     .fallocate_ret = -ENOTSUP };
	struct dax_mapping *mapping = mock_file(&mock, dev, 10 * PAGE);
	struct dax_vma *vma = map_shared(mapping, 10 * DAX_PAGE_SIZE);

	for (int positive = 0; positive < 2; positive++) {
		EQ(fill(mapping, 0, 10 * PAGE, 'x'), 10 * PAGE);
		EQ(load(vma, 0), 'x');
		CHECK(dax_mapping_truncate(mapping, 100) < 0);
		CHECK(dax_mapping_truncate(mapping, 0) < 0);
		CHECK(dax_mapping_truncate(mapping, 11 * PAGE) < 0);
		CHECK(dax_mapping_punch_hole(mapping, 100, 3 * DAX_PAGE_SIZE) < 0);
		CHECK(dax_mapping_fallocate(mapping, 100, 30 * DAX_PAGE_SIZE) < 0);
		EQ(dax_mapping_size(mapping), 10 * PAGE);
		CHECK(all_bytes(mapping, 0, 10 * DAX_PAGE_SIZE, 'x'));
		EQ(gauge_of(mapping, DAX_GAUGE_NREXCEPTIONAL), 1);
		CHECK(mock_is_paired(&mock));
		check_invariants(mapping);
		/* Answers that are neither 0 nor an error are no success. */
		mock.truncate_ret = mock.punch_ret = mock.fallocate_ret = 7;
	}
	dax_vma_put(vma);
	dax_mapping_put(mapping);
}

/* A block map that refuses, with all that there is to lose: private copies,
 * dirty entries of both sizes, read-only and writable leaves.  Both sizes of
 * straddlers are prepared in vain; each failure of memory on the way too. */
struct state {
	struct dax_mapping *mapping;
	struct dax_vma *vma, *copy;
};

static void make_state(struct state *state, struct mock *mock)
{
	state->mapping = mock_file(mock, dev, 4 * PMD);
	state->vma = map_shared(state->mapping, 4 * DAX_PMD_SIZE);
	state->copy = map_private(state->mapping, 4 * DAX_PMD_SIZE);
	EQ(store(state->vma, DAX_PMD_SIZE + 5, 'h'), 0);	/* dirty, 2 MiB */
	EQ(store(state->vma, 2 * DAX_PMD_SIZE + 5, 'i'), 0);
	EQ(store(state->copy, 3 * DAX_PMD_SIZE + 5, 'c'), 0);
	EQ(store(state->copy, DAX_PMD_SIZE + offset_of(100), 'd'), 0);
}

static void check_state(struct state *state, uint64_t dirty)
{
	check_invariants(state->mapping);
	EQ(dax_mapping_size(state->mapping), 4 * PMD);
	EQ(nr_dirty(state->mapping), dirty);
	EQ(load(state->vma, DAX_PMD_SIZE + 5), 'h');
	EQ(load(state->vma, 2 * DAX_PMD_SIZE + 5), 'i');
	EQ(load(state->copy, 3 * DAX_PMD_SIZE + 5), 'c');
	EQ(load(state->copy, DAX_PMD_SIZE + offset_of(100)), 'd');
	EQ(gauge_of(state->mapping, DAX_GAUGE_COW_BYTES), 2 * PAGE);
	check_invariants(state->mapping);
}

static void drop_state(struct state *state)
{
	dax_vma_put(state->copy);
	dax_vma_put(state->vma);
	dax_mapping_put(state->mapping);
}

static void failures_lose_nothing(void)
{
	struct mock mock = { .truncate_ret = -EIO, .punch_ret = -EIO };
	struct state state;
	const uint64_t from = DAX_PMD_SIZE + offset_of(50);

	make_state(&state, &mock);
	for (int i = 0; i < 3; i++) {
		EQ(dax_mapping_truncate(state.mapping, (dax_loff_t)from), -EIO);
		check_state(&state, 2);
		EQ(dax_mapping_truncate(state.mapping, 17), -EIO);
		check_state(&state, 2);
		EQ(dax_mapping_punch_hole(state.mapping, (dax_loff_t)from,
					  DAX_PMD_SIZE), -EIO);
		check_state(&state, 2);
		EQ(store(state.vma, DAX_PMD_SIZE + 5, 'h'), 0);
		EQ(dax_mapping_writeback(state.mapping, 0, UINT64_MAX), 2);
		check_state(&state, 0);
		EQ(store(state.vma, DAX_PMD_SIZE + 5, 'h'), 0);
		EQ(store(state.vma, 2 * DAX_PMD_SIZE + 5, 'i'), 0);
	}
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_punch_hole(state.mapping, (dax_loff_t)from,
					     DAX_PMD_SIZE);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, -EIO);
			break;
		}
		EQ(ret, -ENOMEM);
		check_state(&state, 2);
	}
	CHECK(oom_rounds() >= 2);
	drop_state(&state);
}

/* The same where it succeeds in the end: what stays has the tags. */
static void straddlers_without_memory(void)
{
	const uint64_t from = DAX_PMD_SIZE + offset_of(101);
	struct mock mock = { .answer = NULL };
	struct state state;

	make_state(&state, &mock);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = dax_mapping_punch_hole(state.mapping, (dax_loff_t)from,
					     DAX_PMD_SIZE);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		check_state(&state, 2);
	}
	EQ(nr_dirty(state.mapping), 101 + 411);
	EQ(load(state.vma, DAX_PMD_SIZE + 5), 'h');
	EQ(load(state.copy, DAX_PMD_SIZE + offset_of(100)), 'd');
	check_invariants(state.mapping);
	EQ(dax_mapping_writeback(state.mapping, 0, UINT64_MAX), 512);
	EQ(nr_dirty(state.mapping), 0);
	drop_state(&state);
}

/* A clean 2 MiB entry goes whole, and what is left of it faults in again. */
static void clean_straddler(void)
{
	struct mock mock = { .answer = NULL };
	struct state state;

	make_state(&state, &mock);
	EQ(dax_mapping_fsync(state.mapping, NULL), 0);
	EQ(dax_mapping_punch_hole(state.mapping, PMD + 4096 * 7, 4096), 0);
	check_state(&state, 0);
	EQ(store(state.vma, DAX_PMD_SIZE + 5, 'h'), 0);
	EQ(nr_dirty(state.mapping), 1);
	drop_state(&state);
}

/* The block map cannot be asked where the last page lies: each begin in turn
 * fails. */
static void begin_fails(void)
{
	for (unsigned int n = 1; n <= 3; n++) {
		struct mock mock = { .answer = NULL };
		struct dax_mapping *mapping = mock_file(&mock, dev, 10 * PAGE);
		int ret;

		EQ(fill(mapping, 0, 10 * PAGE, 'x'), 10 * PAGE);
		mock.begins = 0;
		mock.fail_at = n;
		ret = dax_mapping_punch_hole(mapping, 100, 2 * DAX_PAGE_SIZE);
		EQ(ret, n < 3 ? -ENOTSUP : 0);
		mock.fail_at = 0;
		EQ(get(mapping, 100), ret ? 'x' : 0);
		mock.begins = 0;
		mock.fail_at = n;
		ret = dax_mapping_truncate(mapping, 100);
		EQ(ret, n < 2 ? -ENOTSUP : 0);
		EQ(dax_mapping_size(mapping), ret ? 10 * PAGE : 100);
		CHECK(mock_is_paired(&mock));
		dax_mapping_put(mapping);
	}
}

static void nothing_supported(void)
{
	struct dax_iomap_ops only_begin = {
		.struct_size = sizeof(only_begin), .iomap_begin = mock_begin,
	};
	struct mock mock = { .answer = NULL };
	struct dax_mapping_attr attr = {
		.struct_size = sizeof(attr), .size = 10 * PAGE, .ops = &only_begin,
		.private_data = &mock,
	};
	struct dax_mapping *mapping = NULL;

	MUST(!dax_mapping_new(&mapping, dev, &attr));
	EQ(dax_mapping_truncate(mapping, 0), -EOPNOTSUPP);
	CHECK(errormsg_has("truncate"));
	EQ(dax_mapping_punch_hole(mapping, 0, 1), -EOPNOTSUPP);
	EQ(dax_mapping_fallocate(mapping, 0, 1), -EOPNOTSUPP);
	EQ(dax_mapping_size(mapping), 10 * PAGE);
	mock.open = false;
	EQ(put(mapping, 0, 'x'), 0);	/* iomap_end may be missing */
	mock.open = false;
	EQ(get(mapping, 0), 'x');
	dax_mapping_put(mapping);
}

/* A page in extents of a hundred bytes, the last of them first on the device:
 * the edge of a punch is many extents, on addresses inside pages. */
static int backwards(struct mock *mock, dax_loff_t pos, uint64_t length,
		     unsigned int flags, struct dax_iomap *iomap)
{
	uint64_t chunk = (uint64_t)pos / 100;

	(void)flags;
	(void)length;
	iomap->type = DAX_IOMAP_MAPPED;
	iomap->offset = (dax_loff_t)chunk * 100;
	iomap->length = 100;
	iomap->addr = mock->fixed.addr - chunk * 100;
	return 0;
}

/* Punch [pos, pos+len) of a page whose first byte lies at @first: are these
 * bytes of the device zero, and all others not? */
static bool punched(struct dax_device *own, uint64_t first, dax_loff_t pos,
		    uint64_t len)
{
	struct mock mock = { .answer = backwards, .fixed.addr = first };
	struct dax_mapping *mapping = mock_file(&mock, own, 4 * PAGE);
	bool good = true;

	memset(own->window, 'x', own->size);
	EQ(dax_mapping_punch_hole(mapping, pos, len), 0);
	CHECK(mock_is_paired(&mock));
	dax_mapping_put(mapping);
	for (uint64_t i = 0; i < own->size; i++) {
		bool inside = i >= first - (uint64_t)pos - len + 100 &&
			      i < first - (uint64_t)pos + 100;

		good = good && (own->window[i] == 0) == inside;
	}
	return good;
}

static void edges_in_many_extents(void)
{
	struct dax_device *own = new_device(4 * DAX_PAGE_SIZE);
	bool good = punched(own, 10000, 800, 600);

	CHECK(good);
	/* The first extent at the very end of the device: what writes past it
	 * writes into somebody's memory, so only if the other went well. */
	if (good)
		CHECK(punched(own, own->size - 100, 0, 4000));
	dax_device_put(own);
}

/* ---- no memory --------------------------------------------------------------------------- */

static void growth_without_memory(void)
{
	for (int way = 0; way < NR_GROWTHS; way++) {
		struct dax_mapping *mapping = new_file(dev, 100);
		struct dax_vma *vma = map_shared(mapping, DAX_PAGE_SIZE);

		EQ(store(vma, 0, 'a'), 0);
		OOM_LOOP(n) {
			int ret;

			oom_fail_from(n);
			if (way == BY_TRUNCATE)
				ret = dax_mapping_truncate(mapping, max_size);
			else if (way == BY_PWRITE)
				ret = (int)dax_mapping_pwrite(mapping, "w", 1, max_size - 1);
			else
				ret = dax_mapping_fallocate(mapping, max_size - 1, 1);
			oom_clear();
			check_invariants(mapping);
			if (!oom_fired()) {
				CHECK(ret >= 0);
				break;
			}
			EQ(ret, -ENOMEM);
			EQ(dax_mapping_size(mapping), 100);
			EQ(get(mapping, 0), 'a');
		}
		CHECK(oom_rounds() > 2);
		EQ(dax_mapping_size(mapping), max_size);
		EQ(get(mapping, 0), 'a');
		dax_vma_put(vma);
		dax_mapping_put(mapping);
	}
}

/* ---- against arrays ------------------------------------------------------------------------- */

enum { MODEL_PAGES = 3 * 512, MODEL_BYTES = MODEL_PAGES * 4096, MODEL_STEPS = 700 };

static struct {
	unsigned char data[MODEL_BYTES];	/* the file; zero past its end */
	unsigned char copy[MODEL_BYTES];	/* private pages, where there are */
	bool has_copy[MODEL_PAGES];
	dax_loff_t size;
} model;

struct files {
	struct dax_mapping *mapping;
	struct dax_vma *shared[2];
	struct dax_vma *copy;
};

static void model_resize(dax_loff_t size)
{
	dax_loff_t from = size < model.size ? size : model.size;
	dax_pgoff_t page = ((dax_pgoff_t)size + 4095) / 4096;

	memset(model.data + from, 0, (size_t)(MODEL_BYTES - from));
	while (size < model.size && page < MODEL_PAGES)
		model.has_copy[page++] = false;
	model.size = size;
}

static void model_write(struct files *f, dax_loff_t pos, size_t len, int value)
{
	EQ(fill(f->mapping, pos, len, value), len);
	if (pos + (dax_loff_t)len > model.size)
		model_resize(pos + (dax_loff_t)len);
	memset(model.data + pos, value, len);
}

static void model_punch(struct files *f, dax_loff_t pos, size_t len)
{
	size_t left = pos < model.size ? (size_t)(model.size - pos) : 0;

	EQ(dax_mapping_punch_hole(f->mapping, pos, len), 0);
	memset(model.data + pos, 0, len < left ? len : left);
}

static void model_store(struct files *f, dax_loff_t pos, int value, unsigned int which)
{
	bool inside = pos / PAGE * PAGE < model.size;

	EQ(store(f->shared[which], (uint64_t)pos, value), inside ? 0 : -1);
	if (pos < model.size)
		model.data[pos] = (unsigned char)value;
}

static void model_store_copy(struct files *f, dax_loff_t pos, int value)
{
	bool inside = pos / PAGE * PAGE < model.size;
	dax_pgoff_t page = (dax_pgoff_t)pos / 4096;

	EQ(store(f->copy, (uint64_t)pos, value), inside ? 0 : -1);
	if (!inside)
		return;
	if (!model.has_copy[page])
		memcpy(model.copy + page * 4096, model.data + page * 4096, 4096);
	model.has_copy[page] = true;
	model.copy[pos] = (unsigned char)value;
}

static void model_load(struct files *f, dax_loff_t pos, unsigned int which)
{
	bool inside = pos / PAGE * PAGE < model.size;
	dax_pgoff_t page = (dax_pgoff_t)pos / 4096;

	/* Past the end inside the last page any byte may be there. */
	if (inside && pos >= model.size)
		return;
	if (which < 2)
		EQ(load(f->shared[which], (uint64_t)pos), inside ? model.data[pos] : -1);
	else
		EQ(load(f->copy, (uint64_t)pos), !inside ? -1 :
		   model.has_copy[page] ? model.copy[pos] : model.data[pos]);
}

static void model_step(struct files *f, uint64_t r)
{
	dax_loff_t pos = (dax_loff_t)(r % MODEL_BYTES);
	size_t len = 1 + (size_t)((r >> 24) % (r >> 23 & 1 ? 3000000 : 9000));
	int value = 1 + (int)(r >> 50 & 127);

	if (r >> 22 & 1)	/* half of the time at the edge of a page */
		pos = pos / PAGE * PAGE;
	if (len > (size_t)(MODEL_BYTES - pos))
		len = (size_t)(MODEL_BYTES - pos);
	switch (r >> 58 & 15) {
	case 0: case 1:
		model_write(f, pos, len, value);
		break;
	case 2: case 3:
		model_punch(f, pos, len);
		break;
	case 4:
		EQ(dax_mapping_truncate(f->mapping, pos), 0);
		model_resize(pos);
		break;
	case 5:
		EQ(dax_mapping_fallocate(f->mapping, pos, len), 0);
		if (pos + (dax_loff_t)len > model.size)
			model_resize(pos + (dax_loff_t)len);
		break;
	case 6: case 7: case 8:
		model_store(f, pos, value, r >> 40 & 1);
		break;
	case 9: case 10:
		model_store_copy(f, pos, value);
		break;
	default:
		model_load(f, pos, (unsigned int)(r >> 40 & 3));
		EQ(get(f->mapping, pos), pos < model.size ? model.data[pos] : -1);
	}
}

static void model_compare(struct files *f)
{
	static unsigned char buf[MODEL_BYTES];

	EQ(dax_mapping_size(f->mapping), model.size);
	EQ(dax_mapping_pread(f->mapping, buf, MODEL_BYTES, 0), model.size);
	CHECK(!memcmp(buf, model.data, (size_t)model.size));
	for (int i = 0; i < 2 && model.size; i++) {
		EQ(dax_vma_read(f->shared[i], buf, (size_t)model.size, 0, NULL), model.size);
		CHECK(!memcmp(buf, model.data, (size_t)model.size));
	}
}

static void randomised(unsigned int policy, uint64_t seed)
{
	struct dax_device *own = new_device(2 * MODEL_BYTES);
	struct files f = {
		.mapping = policy ? new_cached_file(own, MODEL_BYTES, 0)
				  : new_file(own, MODEL_BYTES),
	};

	memset(&model, 0, sizeof(model));
	model.size = MODEL_BYTES;
	f.shared[0] = map_shared(f.mapping, MODEL_BYTES);
	f.shared[1] = map_pages(f.mapping, MODEL_BYTES, RW | DAX_VM_SHARED,
				DAX_PAGES_PTE);
	f.copy = map_private(f.mapping, MODEL_BYTES);
	for (int step = 0; step < MODEL_STEPS && !tap_bad; step++) {
		model_step(&f, next_random(&seed));
		check_invariants(f.mapping);
		if (step % 100 == 99)
			model_compare(&f);
		if (tap_bad)
			printf("# in step %d\n", step);
	}
	model_compare(&f);
	dax_vma_put(f.shared[0]);
	dax_vma_put(f.shared[1]);
	dax_vma_put(f.copy);
	EQ(dax_mapping_truncate(f.mapping, 0), 0);
	check_tree_exact(&f.mapping->i_pages);
	EQ(f.mapping->i_pages.nr_nodes, 0);
	dax_mapping_put(f.mapping);
	EQ(dax_device_free_bytes(own), 2 * MODEL_BYTES);
	dax_device_put(own);
}

static void model_zero_page(void)
{
	randomised(DAX_POLICY_ZERO_PAGE, UINT64_C(88172645463325252));
	randomised(DAX_POLICY_ZERO_PAGE, UINT64_C(0x1234567887654321));
}

static void model_page_cache(void)
{
	randomised(DAX_POLICY_PAGE_CACHE, UINT64_C(88172645463325252));
}

int main(void)
{
	plan(22);
	dev = new_device(32 * MIB);
	run("truncate down drops entries, leaves, copies and blocks", shrink_drops_everything);
	run("truncate down zeroes the rest of the last page", shrink_zeroes_the_tail);
	run("growth by any way zeroes what was stored behind the end", growth_zeroes_the_tail);
	run("growth inside the last page", growth_within_a_page);
	run("the new end inside a 2 MiB entry", straddling_pmd);
	run("the new end inside a 2 MiB hole", straddling_hole);
	run("sizes and ranges that are refused", sizes_refused);
	run("punch: every kind of edge", punch_edges);
	run("punch inside 2 MiB entries", punch_inside_pmd);
	run("punch beyond the end", punch_beyond_the_end);
	run("private copies stay, and die with truncate", copies);
	run("B13: invalidation takes clean entries only", clean_ones_only);
	run("a block map that fails leaves all as it was", failures_change_nothing);
	run("nor loses copies, tags, leaves", failures_lose_nothing);
	run("nor does a lack of memory", straddlers_without_memory);
	run("a clean 2 MiB entry goes whole", clean_straddler);
	run("nor does one that cannot be asked", begin_fails);
	run("calls the block map does not have", nothing_supported);
	run("punch: an edge in many extents", edges_in_many_extents);
	run("growth: every allocation fails in turn", growth_without_memory);
	run("700 random steps agree with arrays, twice", model_zero_page);
	run("and with the page-cache policy", model_page_cache);
	dax_device_put(dev);
	return done();
}
