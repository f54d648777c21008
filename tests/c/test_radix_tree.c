/* SPDX-License-Identifier: BSD-3-Clause */
/* test_radix_tree.c -- the tree alone: entries, tags, growth, deletion */
#include "radix_tree.h"

#include <errno.h>
#include <string.h>

#include "invariants.h"
#include "oom.h"

static const unsigned int orders[] = { 0, 9, 18 };
static const dax_pgoff_t far_end = (UINT64_C(1) << 51) - 1;

static void *word(uint64_t number)
{
	return (void *)(uintptr_t)(number << 6 | 2);
}

static int insert(struct radix_tree_root *root, dax_pgoff_t index,
		  unsigned int order, void *entry)
{
	struct radix_tree_iter iter;

	return radix_tree_insert(root, index, order, entry, &iter);
}

/* The place of the entry that covers @index, which must be there. */
static struct radix_tree_iter place(struct radix_tree_root *root,
				    dax_pgoff_t index)
{
	struct radix_tree_iter iter;

	MUST(radix_tree_walk(root, index, 0, &iter) && iter.entry);
	return iter;
}

static bool delete_all(const struct radix_tree_iter *iter, void *arg)
{
	(void)iter;
	if (arg)
		++*(unsigned int *)arg;
	return true;
}

static void empty_tree(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	radix_tree_init(&root, 0);
	CHECK(!radix_tree_lookup(&root, 0));
	CHECK(!radix_tree_lookup(&root, far_end));
	CHECK(!radix_tree_next(&root, 0, UINT64_MAX, &iter));
	CHECK(!radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	EQ(radix_tree_bytes(&root), 0);
	EQ(radix_tree_maxindex(&root), RADIX_TREE_MAP_SIZE - 1);
	radix_tree_delete_range(&root, 0, UINT64_MAX, delete_all, NULL);
	radix_tree_prune(&root);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* Every covered index finds the entry, its neighbours do not. */
static void lookup_covered(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		dax_pgoff_t nr = UINT64_C(1) << orders[i], first = 3 * nr;
		struct radix_tree_root root;
		struct radix_tree_iter iter;
		bool same = true;

		radix_tree_init(&root, 8 * nr);
		EQ(radix_tree_insert(&root, first + nr / 3, orders[i], word(7), &iter), 0);
		EQ(iter.index, first);
		EQ(iter.order, orders[i]);
		EQ(iter.node->shift, orders[i]);
		CHECK(iter.entry == word(7) && *iter.slot == word(7));
		for (dax_pgoff_t k = 0; k < nr; k++)
			same = same && radix_tree_lookup(&root, first + k) == word(7);
		CHECK(same);
		CHECK(!radix_tree_lookup(&root, first - 1));
		CHECK(!radix_tree_lookup(&root, first + nr));
		check_tree_exact(&root);
		radix_tree_destroy(&root);
		EQ(root.nr_nodes, 0);
	}
}

/* -EEXIST whatever the two orders, if they overlap; success if not. */
static void exist_one(unsigned int first, unsigned int second)
{
	dax_pgoff_t nr = UINT64_C(1) << 18, index = 2 * nr;
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	radix_tree_init(&root, 8 * nr);
	EQ(insert(&root, index, first, word(1)), 0);
	EQ(radix_tree_insert(&root, index, second, word(2), &iter), -EEXIST);
	if (second <= first)
		CHECK(iter.entry == word(1) && iter.index == index);
	else
		CHECK(radix_tree_is_internal_node(iter.entry));
	CHECK(radix_tree_lookup(&root, index) == word(1));
	EQ(insert(&root, index + nr, second, word(3)), 0);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

static void exist_table(void)
{
	for (unsigned int i = 0; i < 3; i++)
		for (unsigned int j = 0; j < 3; j++)
			exist_one(orders[i], orders[j]);
}

/* One 4 KiB entry at any of the 512 offsets keeps a 2 MiB entry out. */
static void pte_anywhere_blocks_pmd(void)
{
	for (dax_pgoff_t at = 0; at < DAX_PMD_NR_PAGES; at++) {
		struct radix_tree_root root;

		radix_tree_init(&root, 2048);
		EQ(insert(&root, 512 + at, 0, word(at)), 0);
		EQ(insert(&root, 512, 9, word(1)), -EEXIST);
		EQ(insert(&root, 512 + (at ^ 511), 9, word(1)), -EEXIST);
		CHECK(radix_tree_lookup(&root, 512 + at) == word(at));
		EQ(insert(&root, 0, 9, word(1)), 0);
		EQ(insert(&root, 1024, 9, word(1)), 0);
		radix_tree_destroy(&root);
	}
}

/* And a 2 MiB entry keeps 4 KiB out of each of its pages. */
static void pmd_blocks_every_pte(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, 2048);
	EQ(insert(&root, 700, 9, word(1)), 0);
	for (dax_pgoff_t at = 512; at < 1024; at++)
		EQ(insert(&root, at, 0, word(2)), -EEXIST);
	EQ(insert(&root, 511, 0, word(2)), 0);
	EQ(insert(&root, 1024, 0, word(2)), 0);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* A node without entries is in the way too, until it is pruned. */
static void empty_node_blocks_pmd(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	radix_tree_init(&root, 2048);
	EQ(radix_tree_insert(&root, 600, 0, word(1), &iter), 0);
	*iter.slot = NULL;
	EQ(insert(&root, 512, 9, word(2)), -EEXIST);
	radix_tree_prune(&root);
	EQ(root.nr_nodes, 0);
	EQ(insert(&root, 512, 9, word(2)), 0);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

static void out_of_range(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, 0);
	EQ(insert(&root, RADIX_TREE_MAP_SIZE, 0, word(1)), -ERANGE);
	EQ(insert(&root, 0, 18, word(1)), -ERANGE);
	EQ(root.nr_nodes, 0);
	EQ(insert(&root, RADIX_TREE_MAP_SIZE - 1, 0, word(1)), 0);
	EQ(insert(&root, UINT64_MAX, 0, word(1)), -ERANGE);
	CHECK(!radix_tree_lookup(&root, UINT64_MAX));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

static void far_end_of_files(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	radix_tree_init(&root, far_end);
	EQ(insert(&root, far_end, 0, word(5)), 0);
	EQ(insert(&root, far_end - 512, 9, word(6)), 0);
	EQ(insert(&root, 0, 18, word(7)), 0);
	CHECK(radix_tree_lookup(&root, far_end) == word(5));
	CHECK(radix_tree_lookup(&root, far_end - 1023) == word(6));
	CHECK(!radix_tree_lookup(&root, far_end + 1));
	CHECK(!radix_tree_lookup(&root, UINT64_MAX));
	CHECK(radix_tree_next(&root, 1 << 18, UINT64_MAX, &iter));
	EQ(iter.index, far_end - 1023);
	CHECK(radix_tree_next(&root, far_end, UINT64_MAX, &iter));
	EQ(iter.index, far_end);
	CHECK(!radix_tree_next(&root, far_end + 1, UINT64_MAX, &iter));
	radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_DIRTY);
	CHECK(radix_tree_next_tagged(&root, 0, UINT64_MAX,
				     DAX_PAGECACHE_TAG_DIRTY, &iter));
	EQ(iter.index, far_end);
	check_tree_exact(&root);
	radix_tree_delete_range(&root, 1, UINT64_MAX, delete_all, NULL);
	EQ(root.nr_nodes, 0);
	radix_tree_destroy(&root);
}

/* ---- iteration -------------------------------------------------------------- */

static const struct { dax_pgoff_t index; unsigned int order; } rows[] = {
	{ 0, 0 }, { 5, 0 }, { 511, 0 }, { 512, 9 }, { 1024, 0 }, { 1536, 9 },
	{ 2048, 9 }, { 2560, 0 }, { 1 << 18, 18 }, { 2 << 18, 0 },
};

static void fill_rows(struct radix_tree_root *root)
{
	radix_tree_init(root, 1 << 20);
	for (unsigned int i = 0; i < 10; i++)
		MUST(!insert(root, rows[i].index, rows[i].order, word(i)));
}

static void iteration_steps(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;
	dax_pgoff_t index = 0;
	unsigned int n = 0;

	fill_rows(&root);
	while (n < 11 && radix_tree_next(&root, index, UINT64_MAX, &iter)) {
		EQ(iter.index, rows[n].index);
		EQ(iter.order, rows[n].order);
		CHECK(iter.entry == word(n) && *iter.slot == word(n));
		EQ(iter.node->shift, iter.order);
		index = iter.index + (UINT64_C(1) << iter.order);
		n++;
	}
	EQ(n, 10);
	radix_tree_destroy(&root);
}

static void iteration_inside(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	fill_rows(&root);
	CHECK(radix_tree_next(&root, 700, UINT64_MAX, &iter));
	EQ(iter.index, 512);
	CHECK(radix_tree_next(&root, 700, 700, &iter));
	EQ(iter.index, 512);
	CHECK(radix_tree_next(&root, (2 << 18) - 1, UINT64_MAX, &iter));
	EQ(iter.index, 1 << 18);
	EQ(iter.order, 18);
	radix_tree_destroy(&root);
}

static void iteration_ends(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	fill_rows(&root);
	CHECK(!radix_tree_next(&root, 6, 510, &iter));
	CHECK(radix_tree_next(&root, 6, 511, &iter));
	CHECK(!radix_tree_next(&root, 1025, 1535, &iter));
	CHECK(radix_tree_next(&root, 1025, 1536, &iter));
	CHECK(!radix_tree_next(&root, 7, 6, &iter));
	CHECK(!radix_tree_next(&root, (2 << 18) + 1, UINT64_MAX, &iter));
	radix_tree_destroy(&root);
}

/* ---- tags ------------------------------------------------------------------- */

static void tag(struct radix_tree_root *root, dax_pgoff_t index,
		enum radix_tree_tag which)
{
	struct radix_tree_iter iter = place(root, index);

	radix_tree_tag_set(&iter, which);
}

static bool upper_tag(struct radix_tree_root *root, enum radix_tree_tag which)
{
	return inv_any_tag(rnode_node(root->rnode), which);
}

static void tagged_iteration(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	fill_rows(&root);
	tag(&root, 511, DAX_PAGECACHE_TAG_DIRTY);
	tag(&root, 900, DAX_PAGECACHE_TAG_DIRTY);
	tag(&root, 1600, DAX_PAGECACHE_TAG_TOWRITE);
	tag(&root, (1 << 18) + 5, DAX_PAGECACHE_TAG_DIRTY);
	CHECK(radix_tree_next_tagged(&root, 0, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY, &iter));
	EQ(iter.index, 511);
	CHECK(radix_tree_next_tagged(&root, 512, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY, &iter));
	EQ(iter.index, 512);
	CHECK(radix_tree_next_tagged(&root, 1000, 1000, DAX_PAGECACHE_TAG_DIRTY, &iter));
	EQ(iter.index, 512);
	CHECK(!radix_tree_next_tagged(&root, 1024, (1 << 18) - 1, DAX_PAGECACHE_TAG_DIRTY, &iter));
	CHECK(radix_tree_next_tagged(&root, 1024, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY, &iter));
	EQ(iter.index, 1 << 18);
	EQ(iter.order, 18);
	CHECK(radix_tree_next_tagged(&root, 0, UINT64_MAX, DAX_PAGECACHE_TAG_TOWRITE, &iter));
	EQ(iter.index, 1536);
	CHECK(radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_TOWRITE));
	CHECK(!radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* Set climbs to the top; clear in shared use is of the entry alone, and the
 * next exclusive call over the place brings the rest up. */
static void tags_climb_and_fall(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	fill_rows(&root);
	CHECK(!radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	tag(&root, 5, DAX_PAGECACHE_TAG_DIRTY);
	CHECK(upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	CHECK(!upper_tag(&root, DAX_PAGECACHE_TAG_TOWRITE));
	CHECK(radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	iter = place(&root, 5);
	radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_DIRTY);
	CHECK(!radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY));
	CHECK(!radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree(&root);
	radix_tree_prune(&root);
	CHECK(!upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* Each by itself: a node that has one tag only. */
static void delete_drops_each_tag(void)
{
	for (unsigned int which = 0; which < RADIX_TREE_MAX_TAGS; which++) {
		struct radix_tree_root root;

		fill_rows(&root);
		tag(&root, 5, which);
		radix_tree_delete_range(&root, 5, 5, delete_all, NULL);
		CHECK(!upper_tag(&root, which));
		check_tree_exact(&root);
		MUST(!insert(&root, 5, 0, word(1)));
		CHECK(!radix_tree_tagged(&root, which));
		radix_tree_destroy(&root);
	}
}

static void delete_drops_tags(void)
{
	struct radix_tree_root root;

	fill_rows(&root);
	tag(&root, 5, DAX_PAGECACHE_TAG_DIRTY);
	tag(&root, 5, DAX_PAGECACHE_TAG_TOWRITE);
	tag(&root, 512, DAX_PAGECACHE_TAG_DIRTY);
	radix_tree_delete_range(&root, 5, 5, delete_all, NULL);
	CHECK(!upper_tag(&root, DAX_PAGECACHE_TAG_TOWRITE));
	CHECK(upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	radix_tree_delete_range(&root, 512, 512, delete_all, NULL);
	CHECK(!upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	MUST(!insert(&root, 5, 0, word(1)));
	CHECK(!radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	radix_tree_destroy(&root);
}

/* ---- growth ------------------------------------------------------------------ */

static void extend_keeps_entries(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, 0);
	EQ(radix_tree_extend(&root, 5000), 0);	/* no node yet: only the height */
	EQ(root.nr_nodes, 0);
	CHECK(radix_tree_maxindex(&root) >= 5000);
	MUST(!insert(&root, 512, 9, word(1)));
	MUST(!insert(&root, 3, 0, word(2)));
	tag(&root, 3, DAX_PAGECACHE_TAG_DIRTY);
	EQ(radix_tree_extend(&root, far_end), 0);
	CHECK(radix_tree_maxindex(&root) >= far_end);
	EQ(radix_tree_extend(&root, 7), 0);
	CHECK(radix_tree_maxindex(&root) >= far_end);
	CHECK(radix_tree_lookup(&root, 1023) == word(1));
	CHECK(radix_tree_lookup(&root, 3) == word(2));
	CHECK(radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	CHECK(!radix_tree_tagged(&root, DAX_PAGECACHE_TAG_TOWRITE));
	EQ(insert(&root, far_end, 0, word(3)), 0);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

static uintptr_t rnode_before;
static struct radix_tree_root *growing;
static bool seen_half_grown;

static bool fail_third_and_look(size_t size)
{
	static unsigned int nr;

	(void)size;
	seen_half_grown |= growing->rnode != rnode_before;
	return ++nr % 3 == 0;
}

/* Lookups may run beside an extension, and nodes that were never seen are the
 * only ones that may be freed beside them. */
static void failed_extend_was_never_seen(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, 0);
	MUST(!insert(&root, 0, 0, word(1)));
	rnode_before = root.rnode;
	growing = &root;
	seen_half_grown = false;
	dax_test.fail_alloc = fail_third_and_look;
	EQ(radix_tree_extend(&root, far_end), -ENOMEM);
	dax_test.fail_alloc = NULL;
	CHECK(root.rnode == rnode_before);
	CHECK(!seen_half_grown);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* ---- what a tree holds, to compare ------------------------------------------- */

enum { SNAPSHOT_MAX = 64 };

struct snapshot {
	uintptr_t rnode;
	uint64_t nr_nodes;
	unsigned int nr;
	struct { dax_pgoff_t index; unsigned int order; void *entry; } row[SNAPSHOT_MAX];
};

static struct snapshot snapshot(struct radix_tree_root *root)
{
	struct snapshot s = { .rnode = root->rnode, .nr_nodes = root->nr_nodes };
	struct radix_tree_iter iter;
	dax_pgoff_t index = 0;

	while (radix_tree_next(root, index, UINT64_MAX, &iter)) {
		MUST(s.nr < SNAPSHOT_MAX);
		s.row[s.nr].index = iter.index;
		s.row[s.nr].order = iter.order;
		s.row[s.nr++].entry = iter.entry;
		index = iter.index + (UINT64_C(1) << iter.order);
	}
	return s;
}

static bool same_tree(const struct snapshot *a, struct radix_tree_root *root)
{
	struct snapshot b = snapshot(root);
	bool same = a->rnode == b.rnode && a->nr_nodes == b.nr_nodes &&
		    a->nr == b.nr;

	for (unsigned int i = 0; same && i < a->nr; i++)
		same = a->row[i].index == b.row[i].index &&
		       a->row[i].order == b.row[i].order &&
		       a->row[i].entry == b.row[i].entry;
	return same;
}

/* Fail every allocation of an insertion; the tree stays as it was. */
static void insert_without_memory(struct radix_tree_root *root,
				  dax_pgoff_t index, unsigned int order)
{
	struct snapshot before = snapshot(root);

	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = insert(root, index, order, word(99));
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(same_tree(&before, root));
		check_tree_exact(root);
	}
	CHECK(oom_rounds() > 0);
	CHECK(radix_tree_lookup(root, index) == word(99));
}

static void every_allocation_fails(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, far_end);
	insert_without_memory(&root, 77, 0);
	insert_without_memory(&root, 1024, 0);
	insert_without_memory(&root, UINT64_C(1) << 40, 9);
	insert_without_memory(&root, UINT64_C(3) << 42, 18);
	insert_without_memory(&root, far_end, 0);
	radix_tree_destroy(&root);
	EQ(root.nr_nodes, 0);
}

static void extend_without_memory(void)
{
	struct radix_tree_root root;
	struct snapshot before;

	radix_tree_init(&root, 0);
	MUST(!insert(&root, 1, 0, word(1)));
	tag(&root, 1, DAX_PAGECACHE_TAG_DIRTY);
	before = snapshot(&root);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = radix_tree_extend(&root, far_end);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(same_tree(&before, &root));
		check_tree_exact(&root);
	}
	CHECK(oom_rounds() > 2);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

static void split_without_memory(void)
{
	struct radix_tree_iter old, place_of_new;
	struct radix_tree_root root;
	struct snapshot before;
	void *chain;

	radix_tree_init(&root, 4096);
	MUST(!radix_tree_insert(&root, 512, 9, word(1), &old));
	radix_tree_tag_set(&old, DAX_PAGECACHE_TAG_DIRTY);
	before = snapshot(&root);
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = radix_tree_split_prepare(&root, &old, 700, word(2),
					       &place_of_new, &chain);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
		CHECK(same_tree(&before, &root));
	}
	CHECK(oom_rounds() > 0);
	CHECK(radix_tree_lookup(&root, 600) == word(1));	/* not yet */
	radix_tree_split_publish(&old, chain);
	EQ(place_of_new.index, 700);
	EQ(place_of_new.order, 0);
	CHECK(*place_of_new.slot == word(2));
	for (dax_pgoff_t i = 512; i < 1024; i++)
		CHECK(radix_tree_lookup(&root, i) == (i == 700 ? word(2) : NULL));
	CHECK(!radix_tree_tagged(&root, DAX_PAGECACHE_TAG_DIRTY));
	radix_tree_prune(&root);
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* ---- tags that fall beside others ------------------------------------------------- */

static void set_clear(struct radix_tree_root *root, dax_pgoff_t index, bool set)
{
	struct radix_tree_iter iter = place(root, index);

	if (set)
		radix_tree_tag_set(&iter, DAX_PAGECACHE_TAG_DIRTY);
	else
		radix_tree_tag_clear(&iter, DAX_PAGECACHE_TAG_DIRTY);
}

/* Upper tags fall where nothing below has them, inside the range alone. */
static void settle(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, 4096 * 512);
	for (dax_pgoff_t i = 0; i < 4096 * 512; i += 300)
		EQ(insert(&root, i, 0, word(i)), 0);
	for (dax_pgoff_t i = 0; i < 4096 * 512; i += 300)
		set_clear(&root, i, true);
	check_tree_exact(&root);
	for (dax_pgoff_t i = 300; i < 4096 * 512; i += 300)
		set_clear(&root, i, false);
	check_tree(&root);
	radix_tree_settle_tags(&root, 0, UINT64_MAX, DAX_PAGECACHE_TAG_TOWRITE);
	CHECK(upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	radix_tree_settle_tags(&root, 600000, 600000, DAX_PAGECACHE_TAG_DIRTY);
	check_tree(&root);
	radix_tree_settle_tags(&root, 5, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY);
	check_tree_exact(&root);	/* all but the first are gone, exactly */
	CHECK(upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	set_clear(&root, 0, false);
	radix_tree_settle_tags(&root, 0, 200, DAX_PAGECACHE_TAG_DIRTY);
	CHECK(!upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* The tag of a 2 MiB entry is of the entry: it does not fall. */
static void settle_spares_entries(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter iter;

	fill_rows(&root);
	set_clear(&root, 600, true);
	set_clear(&root, 5, true);
	radix_tree_settle_tags(&root, 0, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY);
	iter = place(&root, 600);
	EQ(iter.order, 9);
	CHECK(radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	set_clear(&root, 600, false);
	set_clear(&root, 5, false);
	radix_tree_settle_tags(&root, 0, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY);
	CHECK(!upper_tag(&root, DAX_PAGECACHE_TAG_DIRTY));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

/* Somebody sets a tag just before the upper bit falls, and finds it set, or
 * while it is down: each level in turn. */
static struct radix_tree_root *settled_root;
static unsigned int settled_at, settle_steps;

static void set_while_down(enum dax_test_point point)
{
	if ((point == DAX_TEST_TAG_SETTLED || point == DAX_TEST_TAG_SETTLING) &&
	    settle_steps++ == settled_at)
		set_clear(settled_root, 7, true);
}

static void settle_beside_set(void)
{
	for (settled_at = 0;; settled_at++) {
		struct radix_tree_root root;
		struct radix_tree_iter iter;

		radix_tree_init(&root, (UINT64_C(1) << 27) - 1);
		EQ(insert(&root, 7, 0, word(7)), 0);
		EQ(insert(&root, 600, 0, word(600)), 0);
		set_clear(&root, 7, true);
		set_clear(&root, 7, false);
		settled_root = &root;
		settle_steps = 0;
		dax_test.yield = set_while_down;
		radix_tree_settle_tags(&root, 0, UINT64_MAX, DAX_PAGECACHE_TAG_DIRTY);
		dax_test.yield = NULL;
		if (settle_steps <= settled_at) {
			radix_tree_destroy(&root);
			break;
		}
		CHECK(radix_tree_next_tagged(&root, 0, UINT64_MAX,
					     DAX_PAGECACHE_TAG_DIRTY, &iter));
		EQ(iter.index, 7);
		check_tree_exact(&root);
		radix_tree_destroy(&root);
	}
	CHECK(settled_at >= 4);
}

/* The gang finds what the search finds; its clear takes exactly those. */
static void gang(void)
{
	struct radix_tree_root root;
	struct radix_tree_iter found[64], iter;
	uint64_t random = 77777;

	radix_tree_init(&root, 4096 * 512);
	for (dax_pgoff_t i = 0; i < 3000; i += 3)
		EQ(insert(&root, i, 0, word(i)), 0);
	for (dax_pgoff_t i = 4096; i < 16 * 4096; i += 512)
		EQ(insert(&root, i, 9, word(i)), 0);
	for (int round = 0; round < 300; round++) {
		dax_pgoff_t from, last;
		unsigned int nr, got;

		for (int i = 0; i < 20; i++) {
			random = random * 6364136223846793005u + 1442695040888963407u;
			set_clear(&root, (random >> 33) % 2 ? (random >> 40) % 1000 * 3
				  : 4096 + (random >> 40) % (15 * 4096), true);
		}
		from = (random >> 20) % 9000;
		last = from + (random >> 35) % 60000;
		nr = 1 + (random >> 50) % 64;
		got = radix_tree_gang_lookup_tag(&root, from, last,
						 DAX_PAGECACHE_TAG_DIRTY, found, nr);
		for (unsigned int i = 0; i <= got && i < nr; i++) {
			bool more = from <= last &&
				    radix_tree_next_tagged(&root, from, last,
							   DAX_PAGECACHE_TAG_DIRTY, &iter);

			EQ(more, i < got);
			if (!more || i == got)
				break;
			EQ(found[i].index, iter.index);
			EQ(found[i].order, iter.order);
			CHECK(found[i].slot == iter.slot && found[i].node == iter.node);
			from = iter.index + (UINT64_C(1) << iter.order);
		}
		radix_tree_gang_tag_clear(found, got, DAX_PAGECACHE_TAG_DIRTY);
		for (unsigned int i = 0; i < got; i++)
			CHECK(!radix_tree_tag_get(&found[i], DAX_PAGECACHE_TAG_DIRTY));
		if (got)
			EQ(radix_tree_gang_lookup_tag(&root, found[0].index,
						      found[got - 1].index,
						      DAX_PAGECACHE_TAG_DIRTY, found, 64), 0);
	}
	check_tree(&root);
	radix_tree_destroy(&root);
}

/* ---- an entry gives way to those of some of its pages ------------------------------- */

static void *page_of_entry(const struct radix_tree_iter *old, dax_pgoff_t index)
{
	CHECK(old->entry == word(1));
	return word(1000 + index);
}

static void split_range(dax_pgoff_t first, dax_pgoff_t last, bool dirty,
			bool towrite)
{
	struct radix_tree_iter old, iter;
	struct radix_tree_root root;
	struct radix_tree_node *top = NULL;
	struct snapshot before;

	radix_tree_init(&root, 4096);
	MUST(!radix_tree_insert(&root, 512, 9, word(1), &old));
	EQ(insert(&root, 3, 0, word(3)), 0);
	if (dirty)
		radix_tree_tag_set(&old, DAX_PAGECACHE_TAG_DIRTY);
	if (towrite)
		radix_tree_tag_set(&old, DAX_PAGECACHE_TAG_TOWRITE);
	before = snapshot(&root);
	OOM_LOOP(n) {
		oom_fail_nth(n);
		top = radix_tree_split_range_prepare(&root, &old, first, last,
						     page_of_entry);
		oom_clear();
		if (!oom_fired())
			break;
		CHECK(!top);
		CHECK(same_tree(&before, &root));
	}
	CHECK(oom_rounds() > 0);
	MUST(top);
	CHECK(radix_tree_lookup(&root, 512) == word(1));
	radix_tree_split_range_discard(&root, top);
	CHECK(same_tree(&before, &root));
	top = radix_tree_split_range_prepare(&root, &old, first, last, page_of_entry);
	MUST(top);
	radix_tree_split_range_publish(&old, top);
	for (dax_pgoff_t i = 512; i < 1024; i++) {
		bool gone = i >= first && i <= last;

		CHECK(radix_tree_lookup(&root, i) == (gone ? NULL : word(1000 + i)));
		if (gone)
			continue;
		iter = place(&root, i);
		EQ(iter.order, 0);
		EQ(radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY), dirty);
		EQ(radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_TOWRITE), towrite);
	}
	CHECK(radix_tree_lookup(&root, 3) == word(3));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
}

static void split_ranges(void)
{
	split_range(0, 512, true, true);
	split_range(513, UINT64_MAX, true, false);
	split_range(600, 600, true, true);
	split_range(520, 575, false, false);	/* whole nodes of 8 */
	split_range(1023, 5000, true, false);
	split_range(512, 1022, true, true);
	split_range(513, 1023, true, true);
}

/* ---- deletion ------------------------------------------------------------------ */

static void delete_partial_cover(void)
{
	struct radix_tree_root root;
	unsigned int asked = 0;

	fill_rows(&root);
	/* From inside one 2 MiB entry to inside another. */
	radix_tree_delete_range(&root, 1000, 1600, delete_all, &asked);
	EQ(asked, 3);
	CHECK(!radix_tree_lookup(&root, 512) && !radix_tree_lookup(&root, 1024) &&
	      !radix_tree_lookup(&root, 2047));
	CHECK(radix_tree_lookup(&root, 511) == word(2));
	CHECK(radix_tree_lookup(&root, 2048) == word(6));
	check_tree_exact(&root);
	radix_tree_delete_range(&root, 2 << 18, 1, delete_all, &asked);
	EQ(asked, 3);
	radix_tree_delete_range(&root, (1 << 18) + 9, (1 << 18) + 9, delete_all, NULL);
	CHECK(!radix_tree_lookup(&root, 1 << 18));
	check_tree_exact(&root);
	radix_tree_delete_range(&root, 0, UINT64_MAX, delete_all, NULL);
	EQ(root.nr_nodes, 0);
	CHECK(!rnode_node(root.rnode));
	CHECK(radix_tree_maxindex(&root) >= 1 << 20);	/* as tall as before */
	radix_tree_destroy(&root);
}

static bool keep_odd(const struct radix_tree_iter *iter, void *arg)
{
	(void)arg;
	return iter->index % 2 == 0;
}

static void delete_some(void)
{
	struct radix_tree_root root;

	radix_tree_init(&root, 4096);
	for (dax_pgoff_t i = 0; i < 2000; i++)
		MUST(!insert(&root, i, 0, word(i)));
	radix_tree_delete_range(&root, 10, 1989, keep_odd, NULL);
	for (dax_pgoff_t i = 0; i < 2000; i++)
		CHECK(!!radix_tree_lookup(&root, i) ==
		      (i < 10 || i > 1989 || i % 2 == 1));
	check_tree_exact(&root);
	radix_tree_destroy(&root);
	EQ(root.nr_nodes, 0);
}

/* ---- against an array ------------------------------------------------------------ */

enum { MODEL_PAGES = 4096, MODEL_STEPS = 20000 };

static struct {
	void *entry;
	uint8_t order;
	bool tags[RADIX_TREE_MAX_TAGS];
} model[MODEL_PAGES];	/* what covers each page */

static void model_set(dax_pgoff_t first, unsigned int order, void *entry)
{
	for (dax_pgoff_t i = first; i < first + (UINT64_C(1) << order); i++) {
		model[i].entry = entry;
		model[i].order = (uint8_t)order;
		memset(model[i].tags, 0, sizeof(model[i].tags));
	}
}

static void model_insert(struct radix_tree_root *root, dax_pgoff_t index,
			 unsigned int order, void *entry)
{
	dax_pgoff_t first = radix_tree_canonical(index, order);
	int expected = 0;

	for (dax_pgoff_t i = first; i < first + (UINT64_C(1) << order); i++)
		if (model[i].entry)
			expected = -EEXIST;
	EQ(insert(root, index, order, entry), expected);
	if (!expected)
		model_set(first, order, entry);
}

static void model_delete(struct radix_tree_root *root, dax_pgoff_t first,
			 dax_pgoff_t last)
{
	radix_tree_delete_range(root, first, last, delete_all, NULL);
	for (dax_pgoff_t i = first; i <= last && i < MODEL_PAGES; i++)
		if (model[i].entry)
			model_set(radix_tree_canonical(i, model[i].order),
				  model[i].order, NULL);
}

static void model_tag(struct radix_tree_root *root, dax_pgoff_t index,
		      unsigned int which, bool set)
{
	dax_pgoff_t first = radix_tree_canonical(index, model[index].order);
	struct radix_tree_iter iter;

	if (!model[index].entry)
		return;
	iter = place(root, index);
	if (set)
		radix_tree_tag_set(&iter, which);
	else
		radix_tree_tag_clear(&iter, which);
	for (dax_pgoff_t i = first; i < first + (UINT64_C(1) << iter.order); i++)
		model[i].tags[which] = set;
}

static void model_next(struct radix_tree_root *root, dax_pgoff_t from, int which)
{
	struct radix_tree_iter iter;
	dax_pgoff_t i = from;
	bool found = which < 0 ? radix_tree_next(root, from, UINT64_MAX, &iter) :
		     radix_tree_next_tagged(root, from, UINT64_MAX, which, &iter);

	while (i < MODEL_PAGES && !(model[i].entry && (which < 0 || model[i].tags[which])))
		i++;
	EQ(found, i < MODEL_PAGES);
	if (!found)
		return;
	EQ(iter.index, radix_tree_canonical(i, model[i].order));
	CHECK(iter.entry == model[i].entry);
}

static void model_step(struct radix_tree_root *root, uint64_t r)
{
	dax_pgoff_t index = r % MODEL_PAGES;
	unsigned int which = (r >> 16 & 255) % RADIX_TREE_MAX_TAGS;

	switch (r >> 32 & 15) {
	case 0: case 1: case 2: case 3: case 4:
		model_insert(root, index, 0, word(r >> 40));
		break;
	case 5: case 6:
		model_insert(root, index, 9, word(r >> 40));
		break;
	case 7:
		model_delete(root, index, index + (r >> 24 & 1023));
		break;
	case 8: case 9: case 10:
		model_tag(root, index, which, true);
		break;
	case 11:
		model_tag(root, index, which, false);
		break;
	case 12:
		model_next(root, index, (int)which);
		break;
	case 13:
		radix_tree_prune(root);
		break;
	default:
		model_next(root, index, -1);
		CHECK(radix_tree_lookup(root, index) == model[index].entry);
	}
}

static void randomised(void)
{
	uint64_t seed = UINT64_C(0x2545F4914F6CDD1D);
	struct radix_tree_root root;

	radix_tree_init(&root, MODEL_PAGES);
	memset(model, 0, sizeof(model));
	for (int step = 0; step < MODEL_STEPS; step++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		model_step(&root, seed);
		if (step % 64 == 0)
			check_tree(&root);
	}
	for (dax_pgoff_t i = 0; i < MODEL_PAGES; i++)
		CHECK(radix_tree_lookup(&root, i) == model[i].entry);
	radix_tree_prune(&root);
	check_tree_exact(&root);
	model_delete(&root, 0, MODEL_PAGES);
	EQ(root.nr_nodes, 0);
	radix_tree_destroy(&root);
}

int main(void)
{
	plan(28);
	run("an empty tree answers everything", empty_tree);
	run("every covered page finds its entry, orders 0, 9, 18", lookup_covered);
	run("overlap is -EEXIST for all pairs of orders", exist_table);
	run("B20: one 4 KiB entry at any offset keeps 2 MiB out", pte_anywhere_blocks_pmd);
	run("a 2 MiB entry keeps out 4 KiB at every page", pmd_blocks_every_pte);
	run("an empty node is in the way until it is pruned", empty_node_blocks_pmd);
	run("-ERANGE where the tree is not tall enough", out_of_range);
	run("the last page a file can have", far_end_of_files);
	run("iteration steps by the size of the entry", iteration_steps);
	run("B13: iteration from inside finds the canonical index", iteration_inside);
	run("iteration gives up past the last page", iteration_ends);
	run("tagged iteration", tagged_iteration);
	run("tags climb at once and fall when exclusive", tags_climb_and_fall);
	run("deletion drops the tags of what goes", delete_drops_tags);
	run("delete drops each tag", delete_drops_each_tag);
	run("growth keeps entries and tags", extend_keeps_entries);
	run("a failed growth was never visible", failed_extend_was_never_seen);
	run("insertion: every allocation fails in turn", every_allocation_fails);
	run("growth: every allocation fails in turn", extend_without_memory);
	run("split: every allocation fails in turn", split_without_memory);
	run("upper tags fall beside others, where they may", settle);
	run("the tag of an entry of 2 MiB does not fall", settle_spares_entries);
	run("a tag set while the one above is down", settle_beside_set);
	run("a gang of tagged entries", gang);
	run("split by pages: ranges, tags, every allocation fails", split_ranges);
	run("deletion by range takes what it touches, whole", delete_partial_cover);
	run("deletion asks for each entry", delete_some);
	run("20000 random steps agree with an array", randomised);
	return done();
}
