/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extent_map.c -- the built-in block map: a file's blocks on its device
 *
 *   page of the file --> radix tree --> word: block << 3 | UNWRITTEN | 10
 *
 * Owns: the tree and the blocks named in it.
 * Locks: map->lock for every change; a fault or read that finds its block
 *        takes none.  Words are removed only with no fault and no read in
 *        progress (i_rwsem and invalidate_lock exclusive).
 * Kernel: the shape of fs/ext2/inode.c, ext2_get_blocks(), with unwritten
 *        extents as ext4 has them.
 */
#include "extent_map.h"

#include <errno.h>
#include <inttypes.h>

#include "errormsg.h"
#include "iomap.h"

enum {
	WORD_UNWRITTEN = 0x4,
	WORD_SHIFT = 3,
};

/* Set while fallocate() is under way, to know what to undo. */
#define WORD_FRESH	(UINT64_C(1) << 63)

struct extent_map {
	struct mutex lock;
	struct dax_device *dev;
	struct radix_tree_root tree;
	uint64_t goal;			/* block after the last one taken */
	_Atomic uint64_t nr_blocks;
};

static void *make_word(uint64_t block, uint64_t flags)
{
	return (void *)(uintptr_t)(block << WORD_SHIFT | flags | DAX_EXCEPTIONAL);
}

static uint64_t word_bits(const void *word)
{
	return (uint64_t)(uintptr_t)word;
}

static uint64_t word_block(const void *word)
{
	return (word_bits(word) & ~WORD_FRESH) >> WORD_SHIFT;
}

static bool word_unwritten(const void *word)
{
	return word_bits(word) & WORD_UNWRITTEN;
}

/* ---- asking ------------------------------------------------------------------ */

/* Pages from @page to @last that continue the extent that begins with @word. */
static __attribute__((noinline)) uint64_t
extent_run(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
	   const void *word)
{
	uint64_t run = 1;

	while (page + run <= last) {
		const void *next = radix_tree_lookup(&map->tree, page + run);

		if (!next || word_unwritten(next) != word_unwritten(word) ||
		    word_block(next) != word_block(word) + run)
			break;
		run++;
	}
	return run;
}

/* Pages from @page to @last that are holes; @page was one when it was looked
 * up, which is answer enough if it is none any more. */
static __attribute__((noinline)) uint64_t
hole_run(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last)
{
	struct radix_tree_iter iter;

	if (page != last && radix_tree_next(&map->tree, page + 1, last, &iter))
		return iter.index - page;
	return last - page + 1;
}

static inline void fill_iomap(struct dax_iomap *iomap, dax_pgoff_t page, uint64_t run,
		       const void *word)
{
	iomap->offset = (dax_loff_t)(page << DAX_PAGE_SHIFT);
	iomap->length = run << DAX_PAGE_SHIFT;
	if (likely(!word)) {
		iomap->type = DAX_IOMAP_HOLE;
		return;
	}
	iomap->type = word_unwritten(word) ? DAX_IOMAP_UNWRITTEN : DAX_IOMAP_MAPPED;
	iomap->addr = word_block(word) << DAX_PAGE_SHIFT;
}

static __always_inline_fn void look_up(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
		    struct dax_iomap *iomap)
{
	const void *word = radix_tree_lookup(&map->tree, page);
	uint64_t run = 1;

	if (page != last)
		run = word ? extent_run(map, page, last, word)
			   : hole_run(map, page, last);
	fill_iomap(iomap, page, run, word);
}

/* ---- allocating (map->lock held) ------------------------------------------------ */

/*
 * Blocks as they come from the allocator hold somebody's bytes or zeroes.  The
 * fence is before the map names them: whoever finds them in it, fsync in
 * another thread included, finds zeroes on the medium too.
 */
static int zero_blocks(struct extent_map *map, uint64_t block, uint64_t nr)
{
	struct block_allocator *blocks = &map->dev->blocks;
	bool zeroed = false;
	int ret = 0;

	for (uint64_t i = block; !ret && i < block + nr; i++) {
		if (!blocks_is_stained(blocks, i) ||
		    dax_test_mutated(DAX_MUTATE_BLOCKS_NOT_ZEROED))
			continue;
		ret = map->dev->persist->zero_nt(map->dev,
						 map->dev->window + (i << DAX_PAGE_SHIFT),
						 DAX_PAGE_SIZE);
		if (!ret)
			blocks_set_clean(blocks, i);
		zeroed = true;
	}
	if (zeroed)
		map->dev->persist->fence(map->dev);
	return ret;
}

/* Zero blocks just taken, or give them back. */
static int clean_blocks(struct extent_map *map, uint64_t block, uint64_t nr)
{
	int ret = zero_blocks(map, block, nr);

	if (ret)
		blocks_free(&map->dev->blocks, block, nr);
	return ret;
}

static int no_space(struct extent_map *map)
{
	return dax_error(-ENOSPC, "%s: the device is full (all of its %" PRIu64
			 " bytes would be in use)", map->dev->path, map->dev->size);
}

/* 512 aligned neighbours, for the sake of 2 MiB mappings; 0 if there are none. */
static uint64_t take_pmd(struct extent_map *map, uint64_t *ret_block)
{
	return blocks_alloc(&map->dev->blocks, map->goal, DAX_PMD_NR_PAGES,
			    DAX_PMD_NR_PAGES, true, ret_block);
}

/* The medium must have room for blocks just taken, or they are given back. */
static int prepare_blocks(struct extent_map *map, uint64_t block, uint64_t nr)
{
	int ret = device_prepare_store(map->dev, block << DAX_PAGE_SHIFT,
				       nr << DAX_PAGE_SHIFT);

	if (ret)
		blocks_free(&map->dev->blocks, block, nr);
	else
		map->goal = block + nr;
	return ret;
}

/* Take up to @nr blocks, neighbours, for pages from @page on. */
static int take_blocks(struct extent_map *map, dax_pgoff_t page, uint64_t nr,
		       uint64_t *ret_block, uint64_t *ret_nr)
{
	const void *before = page ? radix_tree_lookup(&map->tree, page - 1) : NULL;
	uint64_t goal = before ? word_block(before) + 1 : map->goal;
	uint64_t got = 0;

	if (nr >= DAX_PMD_NR_PAGES && page % DAX_PMD_NR_PAGES == 0)
		got = take_pmd(map, ret_block);
	if (!got)
		got = blocks_alloc(&map->dev->blocks, goal, nr, 1, false, ret_block);
	if (!got)
		return no_space(map);
	*ret_nr = got;
	return prepare_blocks(map, *ret_block, got);
}

/* Put blocks under pages; what finds no room in the tree is given back. */
static int insert_blocks(struct extent_map *map, dax_pgoff_t page,
			 uint64_t block, uint64_t nr, uint64_t flags,
			 uint64_t *ret_nr)
{
	struct radix_tree_iter iter;
	uint64_t done = 0;
	int ret = radix_tree_extend(&map->tree, page + nr - 1);

	while (!ret && done < nr) {
		ret = radix_tree_insert(&map->tree, page + done, 0,
					make_word(block + done, flags), &iter);
		done += !ret;
	}
	atomic_fetch_add_explicit(&map->nr_blocks, done, memory_order_relaxed);
	if (done < nr)
		blocks_free(&map->dev->blocks, block + done, nr - done);
	*ret_nr = done;
	return done ? 0 : dax_error(ret, "no memory for the block map");
}

static int fill_hole(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last)
{
	uint64_t block = 0, nr = 0;
	int ret;

	ret = take_blocks(map, page, hole_run(map, page, last), &block, &nr);
	if (!ret)
		ret = clean_blocks(map, block, nr);
	if (ret)
		return ret;
	return insert_blocks(map, page, block, nr, 0, &nr);
}

/* Take back what insert_blocks() did; nodes stay. */
static void withdraw_blocks(struct extent_map *map, dax_pgoff_t page,
			    uint64_t block, uint64_t nr)
{
	struct radix_tree_iter iter;

	for (uint64_t i = 0; i < nr; i++) {
		radix_tree_walk(&map->tree, page + i, 0, &iter);
		smp_store_release(iter.slot, NULL);
	}
	atomic_fetch_sub_explicit(&map->nr_blocks, nr, memory_order_relaxed);
	blocks_free(&map->dev->blocks, block, nr);
}

/* The same for 2 MiB at once, whole or not at all. */
static int fill_pmd(struct extent_map *map, dax_pgoff_t page, uint64_t block)
{
	uint64_t nr = 0;
	int ret = prepare_blocks(map, block, DAX_PMD_NR_PAGES);

	if (!ret)
		ret = clean_blocks(map, block, DAX_PMD_NR_PAGES);
	if (ret)
		return ret;
	ret = insert_blocks(map, page, block, DAX_PMD_NR_PAGES, 0, &nr);
	if (ret || nr == DAX_PMD_NR_PAGES)
		return ret;
	withdraw_blocks(map, page, block, nr);
	return dax_error(-ENOMEM, "no memory for the block map");
}

/* Blocks that were set aside become data: zero first, then say so. */
static int convert_unwritten(struct extent_map *map, dax_pgoff_t page,
			     dax_pgoff_t last, const void *word)
{
	uint64_t run = extent_run(map, page, last, word);
	int ret;

	ret = device_prepare_store(map->dev, word_block(word) << DAX_PAGE_SHIFT,
				   run << DAX_PAGE_SHIFT);
	if (!ret)
		ret = zero_blocks(map, word_block(word), run);
	if (ret)
		return ret;
	for (uint64_t i = 0; i < run; i++) {
		struct radix_tree_iter iter;

		radix_tree_walk(&map->tree, page + i, 0, &iter);
		smp_store_release(iter.slot, make_word(word_block(word) + i, 0));
	}
	return 0;
}

/* Fewer blocks than asked for may come of it: the caller asks again. */
static int allocate(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
		    struct dax_iomap *iomap)
{
	const void *word;
	int ret = 0;

	mutex_lock(&map->lock);
	word = radix_tree_lookup(&map->tree, page);
	if (!word)
		ret = fill_hole(map, page, last);
	else if (word_unwritten(word))
		ret = convert_unwritten(map, page, last, word);
	if (!ret) {
		look_up(map, page, last, iomap);
		if (!word || word_unwritten(word))
			iomap->flags |= DAX_IOMAP_F_NEW;
	}
	mutex_unlock(&map->lock);
	return ret;
}

/*
 * A store by 2 MiB: all of it in one aligned run, or nothing is allocated and
 * the answer is short, so that the fault falls back and takes one block.
 */
static int allocate_pmd(struct extent_map *map, dax_pgoff_t page,
			dax_pgoff_t last, struct dax_iomap *iomap)
{
	bool whole = iomap->length == DAX_PMD_SIZE;
	uint64_t block;
	int ret = 0;

	if (iomap->type == DAX_IOMAP_UNWRITTEN && whole)
		return allocate(map, page, last, iomap);
	if (iomap->type == DAX_IOMAP_HOLE && whole) {
		mutex_lock(&map->lock);
		if (hole_run(map, page, last) == DAX_PMD_NR_PAGES &&
		    !radix_tree_lookup(&map->tree, page) && take_pmd(map, &block))
			ret = fill_pmd(map, page, block);
		mutex_unlock(&map->lock);
		look_up(map, page, last, iomap);
		if (iomap->type == DAX_IOMAP_MAPPED)
			iomap->flags |= DAX_IOMAP_F_NEW;
	}
	if (iomap->type != DAX_IOMAP_MAPPED)
		iomap->length = DAX_PAGE_SIZE;
	return ret;
}

static __attribute__((noinline)) int
begin_slow(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
	   unsigned int flags, struct dax_iomap *iomap)
{
	look_up(map, page, last, iomap);
	if (!(flags & DAX_IOMAP_WRITE) || iomap->type == DAX_IOMAP_MAPPED)
		return 0;
	if (flags & DAX_IOMAP_FAULT && page != last)
		return allocate_pmd(map, page, last, iomap);
	return allocate(map, page, last, iomap);
}

static int extent_map_begin(struct dax_mapping *mapping, void *private_data,
			    dax_loff_t pos, uint64_t length, unsigned int flags,
			    struct dax_iomap *iomap)
{
	struct extent_map *map = private_data;
	dax_pgoff_t page = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT;
	dax_pgoff_t last = ((dax_pgoff_t)pos + length - 1) >> DAX_PAGE_SHIFT;

	(void)mapping;
	if (unlikely(flags & DAX_IOMAP_WRITE || page != last))
		return begin_slow(map, page, last, flags, iomap);
	fill_iomap(iomap, page, 1, radix_tree_lookup(&map->tree, page));
	return 0;
}

/* ---- freeing (no fault and no read in progress) ------------------------------------ */

static bool free_word(const struct radix_tree_iter *iter, void *arg)
{
	struct extent_map *map = arg;

	blocks_free(&map->dev->blocks, word_block(iter->entry), 1);
	atomic_fetch_sub_explicit(&map->nr_blocks, 1, memory_order_relaxed);
	return true;
}

static void free_pages(struct extent_map *map, dax_pgoff_t first,
		       dax_pgoff_t last)
{
	mutex_lock(&map->lock);
	radix_tree_delete_range(&map->tree, first, last, free_word, map);
	mutex_unlock(&map->lock);
}

static int extent_map_punch(struct dax_mapping *mapping, void *private_data,
			    dax_loff_t pos, uint64_t len)
{
	dax_pgoff_t first = ((uint64_t)pos + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT;
	dax_pgoff_t end = ((uint64_t)pos + len) >> DAX_PAGE_SHIFT;

	(void)mapping;
	if (first < end)
		free_pages(private_data, first, end - 1);
	return 0;
}

static int extent_map_truncate(struct dax_mapping *mapping, void *private_data,
			       dax_loff_t size)
{
	struct extent_map *map = private_data;
	dax_pgoff_t end = ((uint64_t)size + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT;

	(void)mapping;
	free_pages(map, end, radix_tree_maxindex(&map->tree));
	return 0;
}

/* ---- fallocate ------------------------------------------------------------------------ */

static bool free_fresh(const struct radix_tree_iter *iter, void *arg)
{
	return word_bits(iter->entry) & WORD_FRESH ? free_word(iter, arg) : false;
}

static void settle_fresh(struct extent_map *map, dax_pgoff_t first,
			 dax_pgoff_t last)
{
	struct radix_tree_iter iter;

	while (radix_tree_next(&map->tree, first, last, &iter)) {
		if (word_bits(iter.entry) & WORD_FRESH)
			smp_store_release(iter.slot,
					  make_word(word_block(iter.entry), WORD_UNWRITTEN));
		if (iter.index == last)
			break;
		first = iter.index + 1;
	}
}

/* Blocks, unwritten and fresh, for one run of holes at @page. */
static int set_aside(struct extent_map *map, dax_pgoff_t page, uint64_t run)
{
	uint64_t done = 0;

	while (done < run) {
		uint64_t block = 0, nr = 0;
		int ret = take_blocks(map, page + done, run - done, &block, &nr);

		if (!ret)
			ret = insert_blocks(map, page + done, block, nr,
					    WORD_UNWRITTEN | WORD_FRESH, &nr);
		if (ret)
			return ret;
		done += nr;
	}
	return 0;
}

static int set_aside_range(struct extent_map *map, dax_pgoff_t first,
			   dax_pgoff_t last)
{
	int ret = 0;

	for (dax_pgoff_t page = first; !ret && page <= last;) {
		const void *word = radix_tree_lookup(&map->tree, page);
		uint64_t run = word ? 1 : hole_run(map, page, last);

		if (!word)
			ret = set_aside(map, page, run);
		page += run;
	}
	return ret;
}

static int extent_map_fallocate(struct dax_mapping *mapping, void *private_data,
				dax_loff_t pos, uint64_t len)
{
	struct extent_map *map = private_data;
	dax_pgoff_t first = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT;
	dax_pgoff_t last = ((uint64_t)pos + len - 1) >> DAX_PAGE_SHIFT;
	int ret;

	(void)mapping;
	mutex_lock(&map->lock);
	ret = set_aside_range(map, first, last);
	if (ret)
		radix_tree_delete_range(&map->tree, first, last, free_fresh, map);
	else
		settle_fresh(map, first, last);
	mutex_unlock(&map->lock);
	return ret;
}

/* ---- life -------------------------------------------------------------------------------- */

int extent_map_new(struct extent_map **ret_map, struct dax_device *dev,
		   dax_loff_t size)
{
	struct extent_map *map = dax_zalloc(sizeof(*map));

	if (!map)
		return dax_error(-ENOMEM, "no memory for a block map");
	map->dev = dev;
	radix_tree_init(&map->tree, mapping_maxindex(size));
	*ret_map = map;
	return 0;
}

void extent_map_destroy(struct extent_map *map)
{
	free_pages(map, 0, radix_tree_maxindex(&map->tree));
	radix_tree_destroy(&map->tree);
	dax_free(map);
}

static void extent_map_free(struct dax_mapping *mapping, void *private_data)
{
	(void)mapping;
	extent_map_destroy(private_data);
}

uint64_t extent_map_bytes(const struct extent_map *map)
{
	return sizeof(*map) + radix_tree_bytes(&map->tree);
}

uint64_t extent_map_allocated(const struct extent_map *map)
{
	return READ_ONCE(map->nr_blocks) << DAX_PAGE_SHIFT;
}

const struct dax_iomap_ops extent_map_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = extent_map_begin,
	.fallocate = extent_map_fallocate,
	.punch = extent_map_punch,
	.truncate = extent_map_truncate,
	.free = extent_map_free,
};
