/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * extent_map.c -- the built-in block map: a file's blocks on its device
 *
 *   page of the file --> radix tree --> word: block << 3 | UNWRITTEN | 10
 *
 * A word owns its block, alone or with words of other files and pages
 * (frames.h counts them).  A store to a block with several owners is given
 * another one: begin() copies the bytes and switches the word, end() leaves
 * the old block, which is pinned in between, so that leaves and entries that
 * still show it can go first.
 *
 * Owns: the tree and the blocks named in it.
 * Locks: map->lock for every change; a fault or read that finds its block
 *        takes none.  Words that say data are removed, and owners added to a
 *        block, only with no fault and no read in progress (i_rwsem and
 *        invalidate_lock exclusive, of both files): see layout_seq.
 * Kernel: the shape of fs/ext2/inode.c, ext2_get_blocks(), with unwritten
 *        extents as ext4 has them; xfs_reflink_allocate_cow() and
 *        xfs_reflink_end_cow() (6.0).
 */
#include "extent_map.h"

#include <errno.h>
#include <inttypes.h>

#include "errormsg.h"
#include "iomap.h"

enum {
	WORD_UNWRITTEN = 0x4,
	WORD_SHIFT = 3,
	AHEAD_FRACTION = 8	/* of the free blocks, taken ahead at once */
};

/* Set while fallocate() is under way, to know what to undo. */
#define WORD_FRESH	(UINT64_C(1) << 63)

struct extent_map {
	struct mutex lock;
	struct dax_device *dev;
	struct radix_tree_root tree;
	uint64_t goal;			/* block after the last one taken */
	_Atomic uint64_t nr_blocks;
	bool cloned;			/* may share blocks; set with no fault
					 * and no read in progress */
};

/* The table of a file that may share blocks: only there has end() something to
 * do, and only there is it called. */
static const struct dax_iomap_ops extent_map_shared_ops;

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

/* Bits of a block's frame word: who else has it, or anybody at all. */
#define OTHERS	FRAME_SHARES
#define ANYBODY	UINT64_MAX

static bool block_has(struct extent_map *map, uint64_t block, uint64_t mask)
{
	return frame_word(&map->dev->blocks.frames, block) & mask;
}

static bool word_has(struct extent_map *map, const void *word, uint64_t mask)
{
	return map->cloned && block_has(map, word_block(word), mask);
}

/* ---- asking ------------------------------------------------------------------ */

/* How many words of one node, from that of @page on, go on from @word. */
static uint64_t node_run(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
			 uint64_t word)
{
	uint64_t nr = RADIX_TREE_MAP_SIZE - (page & RADIX_TREE_MAP_MASK), run = 0;
	struct radix_tree_iter iter;

	if (!radix_tree_walk(&map->tree, page, 0, &iter) || iter.order)
		return 0;
	if (nr > last - page + 1)
		nr = last - page + 1;
	while (run < nr && word_bits(smp_load_acquire(&iter.slot[run])) ==
				   word + (run << WORD_SHIFT))
		run++;
	return run;
}

/* Pages from @page to @last that continue the extent that begins with @word. */
static __attribute__((noinline)) uint64_t
extent_run(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
	   const void *word)
{
	uint64_t run = 1, more = 1;

	while (more && page + run <= last) {
		more = node_run(map, page + run, last,
				word_bits(word) + (run << WORD_SHIFT));
		run += more;
		if ((page + run) & RADIX_TREE_MAP_MASK)
			break;
	}
	return run;
}

/* The same, as far as all of them have, or have not, one of @mask. */
static __attribute__((noinline)) uint64_t
same_run(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
	 const void *word, uint64_t mask)
{
	uint64_t run = extent_run(map, page, last, word), same = 1;
	bool has = word_has(map, word, mask);

	if (!map->cloned)
		return run;
	while (same < run && block_has(map, word_block(word) + same, mask) == has)
		same++;
	return same;
}

/* How many pages, from @page on, are holes, as far as one node tells. */
static uint64_t node_holes(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last)
{
	uint64_t nr = last - page + 1, holes = 0, left;
	struct radix_tree_iter iter;

	if (!radix_tree_walk(&map->tree, page, 0, &iter))
		return nr;
	if (iter.entry)
		return 0;
	if (iter.order) {
		left = radix_tree_iter_last(&iter) - page + 1;
		return left < nr ? left : nr;
	}
	left = RADIX_TREE_MAP_SIZE - (page & RADIX_TREE_MAP_MASK);
	while (holes < left && holes < nr && !READ_ONCE(iter.slot[holes]))
		holes++;
	return holes;
}

/* Pages from @page to @last that are holes; @page was one when it was looked
 * up, which is answer enough if it is none any more. */
static __attribute__((noinline)) uint64_t
hole_run(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last)
{
	uint64_t run = 1, more = 1;

	while (more && page + run <= last) {
		more = node_holes(map, page + run, last);
		run += more;
		if ((page + run) & RADIX_TREE_MAP_MASK)
			break;
	}
	return run;
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

/* Do @nr words from that of @page on name the blocks that they named? */
static bool names_still(struct extent_map *map, dax_pgoff_t page, uint64_t nr,
			const void *word)
{
	return !map->cloned ||
	       (radix_tree_lookup(&map->tree, page) == word &&
		extent_run(map, page, page + nr - 1, word) == nr);
}

/*
 * The same; the extent ends where blocks begin or cease to have one of @mask.
 * Words are looked at again after the blocks' counts: a block that has been
 * left meanwhile may seem to be the file's alone, and be another file's.
 * Return: have they?
 */
static bool look_up_run(struct extent_map *map, dax_pgoff_t page,
			dax_pgoff_t last, uint64_t mask, struct dax_iomap *iomap)
{
	const void *word;
	uint64_t run;
	bool has;

	do {
		word = radix_tree_lookup(&map->tree, page);
		if (!word) {
			fill_iomap(iomap, page, hole_run(map, page, last), NULL);
			return false;
		}
		dax_test_yield(DAX_TEST_BLOCK_FOUND);
		run = same_run(map, page, last, word, mask);
		has = word_has(map, word, mask);
	} while (unlikely(!names_still(map, page, run, word)));
	fill_iomap(iomap, page, run, word);
	return has;
}

/* ---- allocating (map->lock held) ------------------------------------------------ */

/* Blocks as they come from the allocator hold somebody's bytes or zeroes. */
static int zero_blocks(struct extent_map *map, uint64_t block, uint64_t nr)
{
	struct dax_device *dev = map->dev;
	bool zeroed = false;
	int ret = 0;

	for (uint64_t i = block; !ret && i < block + nr; i++) {
		if (!blocks_is_stained(&dev->blocks, i))
			continue;
		ret = dev->persist->zero_nt(dev, dev->window + (i << DAX_PAGE_SHIFT),
					    DAX_PAGE_SIZE);
		if (!ret)
			blocks_set_clean(&dev->blocks, i);
		zeroed = true;
	}
	if (zeroed)	/* zeroes first, then the word that shows the block */
		dev->persist->fence(dev);
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

static int fill_hole(struct extent_map *map, dax_pgoff_t page,
		     dax_pgoff_t last, uint64_t *ret_nr)
{
	uint64_t block = 0, nr = 0;
	int ret;

	ret = take_blocks(map, page, hole_run(map, page, last), &block, &nr);
	if (!ret)
		ret = clean_blocks(map, block, nr);
	if (ret)
		return ret;
	return insert_blocks(map, page, block, nr, 0, ret_nr);
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

/* @nr words, from that of @page on, name other blocks. */
static void switch_words(struct extent_map *map, dax_pgoff_t page,
			 uint64_t block, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		struct radix_tree_iter iter;

		radix_tree_walk(&map->tree, page + i, 0, &iter);
		smp_store_release(iter.slot, make_word(block + i, 0));
	}
}

/* As fill_hole(), 2 MiB at once, whole or not at all. */
static int fill_pmd(struct extent_map *map, dax_pgoff_t page, uint64_t block)
{
	uint64_t nr = 0;
	int ret = prepare_blocks(map, block, DAX_PMD_NR_PAGES);

	if (!ret)
		ret = clean_blocks(map, block, DAX_PMD_NR_PAGES);
	if (ret)
		return ret;
	/* Nobody is shown as data what may have to be taken back. */
	ret = insert_blocks(map, page, block, DAX_PMD_NR_PAGES, WORD_UNWRITTEN, &nr);
	if (ret)
		return ret;
	if (nr == DAX_PMD_NR_PAGES) {
		switch_words(map, page, block, nr);
		return 0;
	}
	withdraw_blocks(map, page, block, nr);
	return dax_error(-ENOMEM, "no memory for the block map");
}

/* Blocks that were set aside become data: zero first, then say so. */
static int convert_unwritten(struct extent_map *map, dax_pgoff_t page,
			     dax_pgoff_t last, const void *word)
{
	uint64_t run = same_run(map, page, last, word, OTHERS);
	int ret;

	ret = device_prepare_store(map->dev, word_block(word) << DAX_PAGE_SHIFT,
				   run << DAX_PAGE_SHIFT);
	if (!ret)
		ret = zero_blocks(map, word_block(word), run);
	if (!ret)
		switch_words(map, page, word_block(word), run);
	return ret;
}

/* ---- unsharing (map->lock held) -------------------------------------------------- */

/* What begin() hands to end(): the blocks that are to be left. */
enum { OLD_NR_BITS = 10, OLD_MAX_NR = DAX_PMD_NR_PAGES };

static void *make_old(uint64_t block, uint64_t nr)
{
	return (void *)(uintptr_t)(block << OLD_NR_BITS | nr);
}

static uint64_t old_block(const void *old)
{
	return (uint64_t)(uintptr_t)old >> OLD_NR_BITS;
}

static uint64_t old_nr(const void *old)
{
	return (uint64_t)(uintptr_t)old & ((1 << OLD_NR_BITS) - 1);
}

/* Bytes from some blocks of the device to others, durable like those of a
 * write(2). */
static int copy_blocks(struct extent_map *map, uint64_t to, uint64_t from,
		       uint64_t nr)
{
	struct dax_device *dev = map->dev;
	int ret = dev->persist->store_nt(dev, dev->window + (to << DAX_PAGE_SHIFT),
					 dev->window + (from << DAX_PAGE_SHIFT),
					 nr << DAX_PAGE_SHIFT);

	dev->persist->fence(dev);
	/* What could not be read is not the caller's memory here. */
	return ret == -EFAULT ? dax_error(-EIO, "%s: a shared block cannot be read",
					  dev->path) : ret;
}

/* Give blocks just taken the bytes that the file has there. */
static int fill_blocks(struct extent_map *map, uint64_t to, const void *word,
		       uint64_t nr)
{
	if (word_unwritten(word))
		return zero_blocks(map, to, nr);
	return copy_blocks(map, to, word_block(word), nr);
}

/*
 * Pin the shared blocks from @word's on, neighbours; how many there are, 0 if it
 * is not shared any more.  Whoever finds a block of which nobody has anything
 * writes to it without map->lock: so it is pinned first and looked at then.
 */
static uint64_t pin_shared(struct extent_map *map, dax_pgoff_t page,
			   dax_pgoff_t last, const void *word)
{
	struct block_allocator *blocks = &map->dev->blocks;
	uint64_t run = same_run(map, page, last, word, OTHERS), still = 0;

	if (run > OLD_MAX_NR)
		run = OLD_MAX_NR;
	blocks_pin(blocks, word_block(word), run);
	if (word_has(map, word, OTHERS))
		still = same_run(map, page, page + run - 1, word, OTHERS);
	blocks_unpin(blocks, word_block(word) + still, run - still);
	return still;
}

/* Copies of pinned blocks, from that of @page on, take their place; those of
 * before stay pinned until end(). */
static int replace_blocks(struct extent_map *map, dax_pgoff_t page,
			  const void *word, uint64_t block, uint64_t nr,
			  struct dax_iomap *iomap)
{
	int ret = fill_blocks(map, block, word, nr);

	dax_test_yield(DAX_TEST_UNSHARE_COPIED);
	if (ret) {
		blocks_free(&map->dev->blocks, block, nr);
		return ret;
	}
	switch_words(map, page, block, nr);
	iomap->private_data = make_old(word_block(word), nr);
	return 0;
}

/* @run pages from @page on have pinned blocks: copy what there is room for. */
static int unshare(struct extent_map *map, dax_pgoff_t page, const void *word,
		   uint64_t run, struct dax_iomap *iomap)
{
	uint64_t block = 0, nr = 0;
	int ret = take_blocks(map, page, run, &block, &nr);

	if (!ret)
		ret = replace_blocks(map, page, word, block, nr, iomap);
	if (ret)
		nr = 0;
	blocks_unpin(&map->dev->blocks, word_block(word) + nr, run - nr);
	return ret;
}

/* The same for 2 MiB at once, if all of it is shared, lies together, and can be
 * copied to one aligned run; else nothing is done. */
static int unshare_pmd(struct extent_map *map, dax_pgoff_t page,
		       dax_pgoff_t last, const void *word,
		       struct dax_iomap *iomap)
{
	uint64_t run = pin_shared(map, page, last, word), block = 0;
	bool room = run == DAX_PMD_NR_PAGES && take_pmd(map, &block);
	int ret = room ? prepare_blocks(map, block, run) : 0;

	if (room && !ret)
		ret = replace_blocks(map, page, word, block, run, iomap);
	if (!room || ret)
		blocks_unpin(&map->dev->blocks, word_block(word), run);
	return ret;
}

/* Nobody shows the old blocks any more, or nobody ever did. */
static int extent_map_end(struct dax_mapping *mapping, void *private_data,
			  dax_loff_t pos, uint64_t length, int64_t written,
			  unsigned int flags, struct dax_iomap *iomap)
{
	struct extent_map *map = private_data;
	const void *old = iomap->private_data;

	(void)mapping;
	(void)pos;
	(void)length;
	(void)written;
	(void)flags;
	if (!old)
		return 0;
	dax_test_yield(DAX_TEST_UNSHARED);
	blocks_free(&map->dev->blocks, old_block(old), old_nr(old));
	blocks_unpin(&map->dev->blocks, old_block(old), old_nr(old));
	return 0;
}

/* ---- a write ------------------------------------------------------------------------ */

/* map->lock held: the page gets a block of the file's own, written.  0; 1: it
 * has got it now; -errno. */
static int own_block(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
		     struct dax_iomap *iomap)
{
	const void *word = radix_tree_lookup(&map->tree, page);
	uint64_t run = 0, nr;
	int ret;

	if (word && word_has(map, word, OTHERS))
		run = pin_shared(map, page, last, word);
	if (run)
		ret = unshare(map, page, word, run, iomap);
	else if (!word)
		ret = fill_hole(map, page, last, &nr);
	else if (word_unwritten(word))
		ret = convert_unwritten(map, page, last, word);
	else
		return 0;
	return ret ? ret : 1;
}

/* The same for a whole 2 MiB; it may leave all as it is. */
static int own_pmd(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
		   struct dax_iomap *iomap)
{
	const void *word = radix_tree_lookup(&map->tree, page);
	uint64_t block;
	int ret;

	if (word && word_has(map, word, OTHERS))
		ret = unshare_pmd(map, page, last, word, iomap);
	else if (word && word_unwritten(word) &&
		 same_run(map, page, last, word, OTHERS) == DAX_PMD_NR_PAGES)
		ret = convert_unwritten(map, page, last, word);
	else if (!word && hole_run(map, page, last) == DAX_PMD_NR_PAGES &&
		 take_pmd(map, &block))
		ret = fill_pmd(map, page, block);
	else
		return 0;
	return ret ? ret : 1;
}

/* Fewer blocks than asked for may come of it: the caller asks again. */
static int allocate(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
		    struct dax_iomap *iomap)
{
	int ret;

	mutex_lock(&map->lock);
	ret = own_block(map, page, last, iomap);
	if (ret >= 0)
		look_up_run(map, page, last, OTHERS, iomap);
	if (iomap->private_data)	/* what was copied, and no more */
		iomap->length = old_nr(iomap->private_data) << DAX_PAGE_SHIFT;
	mutex_unlock(&map->lock);
	if (ret == 1)
		iomap->flags |= DAX_IOMAP_F_NEW;
	return ret < 0 ? ret : 0;
}

/*
 * A store by 2 MiB: all of it in one aligned run, or nothing is allocated and
 * the answer is short, so that the fault falls back and takes one block.
 */
static int allocate_pmd(struct extent_map *map, dax_pgoff_t page,
			dax_pgoff_t last, struct dax_iomap *iomap)
{
	bool shared;
	int ret;

	mutex_lock(&map->lock);
	ret = own_pmd(map, page, last, iomap);
	shared = look_up_run(map, page, last, OTHERS, iomap);
	mutex_unlock(&map->lock);
	if (shared || iomap->type != DAX_IOMAP_MAPPED)
		iomap->length = DAX_PAGE_SIZE;
	else if (ret == 1)
		iomap->flags |= DAX_IOMAP_F_NEW;
	return ret < 0 ? ret : 0;
}

/* A write: without a lock where blocks are there and nobody else has anything
 * of them, which stays so. */
static int begin_write(struct extent_map *map, dax_pgoff_t page,
		       dax_pgoff_t last, bool pmd, struct dax_iomap *iomap)
{
	bool busy = look_up_run(map, page, last, ANYBODY, iomap);

	if (iomap->type == DAX_IOMAP_MAPPED && !busy &&
	    (!map->cloned || !pmd || iomap->length == DAX_PMD_SIZE))
		return 0;
	return pmd ? allocate_pmd(map, page, last, iomap)
		   : allocate(map, page, last, iomap);
}

/* The last page of a run whose blocks are taken ahead: what nobody may need is
 * not to leave the device full. */
static dax_pgoff_t ahead_last(struct extent_map *map, dax_pgoff_t page,
			      dax_pgoff_t last)
{
	uint64_t spare = READ_ONCE(map->dev->blocks.nr_free) / AHEAD_FRACTION;

	return last - page < spare ? last : page + spare;
}

/* A store to @page alone, of a run that may become the file's if it is a hole. */
static int begin_ahead(struct extent_map *map, dax_pgoff_t page,
		       dax_pgoff_t last, struct dax_iomap *iomap)
{
	uint64_t nr = 0;
	int ret = 0;

	mutex_lock(&map->lock);
	if (!radix_tree_lookup(&map->tree, page))
		ret = fill_hole(map, page, ahead_last(map, page, last), &nr);
	if (nr)
		fill_iomap(iomap, page, nr, radix_tree_lookup(&map->tree, page));
	mutex_unlock(&map->lock);
	if (!ret && !nr)
		return begin_write(map, page, page, false, iomap);
	iomap->flags |= DAX_IOMAP_F_NEW | DAX_IOMAP_F_AHEAD;
	return ret;
}

static __attribute__((noinline)) int
begin_slow(struct extent_map *map, dax_pgoff_t page, dax_pgoff_t last,
	   unsigned int flags, struct dax_iomap *iomap)
{
	if (flags & DAX_IOMAP_AHEAD)
		return begin_ahead(map, page, last, iomap);
	if (flags & DAX_IOMAP_WRITE)
		return begin_write(map, page, last,
				   flags & DAX_IOMAP_FAULT && page != last, iomap);
	if (!(flags & DAX_IOMAP_REPORT))
		look_up(map, page, last, iomap);
	else if (look_up_run(map, page, last, OTHERS, iomap))
		iomap->flags |= DAX_IOMAP_F_SHARED;
	return 0;
}

/* Is @word answer enough, for one page?  A write wants a block, written, that is
 * the file's alone, and of such a one there is nothing else to report. */
static inline bool word_will_do(const struct extent_map *map, const void *word,
				unsigned int flags)
{
	if (likely(!(flags & (DAX_IOMAP_WRITE | DAX_IOMAP_REPORT))))
		return true;
	return word && !word_unwritten(word) && !map->cloned;
}

static int extent_map_begin(struct dax_mapping *mapping, void *private_data,
			    dax_loff_t pos, uint64_t length, unsigned int flags,
			    struct dax_iomap *iomap)
{
	struct extent_map *map = private_data;
	dax_pgoff_t page = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT;
	dax_pgoff_t last = ((dax_pgoff_t)pos + length - 1) >> DAX_PAGE_SHIFT;
	const void *word;

	(void)mapping;
	if (unlikely(page != last))
		return begin_slow(map, page, last, flags, iomap);
	word = radix_tree_lookup(&map->tree, page);
	if (unlikely(!word_will_do(map, word, flags)))
		return begin_slow(map, page, last, flags, iomap);
	fill_iomap(iomap, page, 1, word);
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

/* ---- sharing (no fault, read or write in progress in either file) -------------------------- */

struct remap {
	struct extent_map *to, *from;
	dax_pgoff_t to_first;
	dax_pgoff_t first, last;	/* of @from */
};

/* The word of a file that shares a block gets one like it. */
static void *shared_word(struct extent_map *map, const void *word, uint64_t flags)
{
	frame_share(&map->dev->blocks.frames, word_block(word));
	return make_word(word_block(word),
			 (word_unwritten(word) ? WORD_UNWRITTEN : 0) | flags);
}

/* Words for the holes of @to, fresh, so that nothing can fail any more. */
static int share_into_holes(struct remap *remap)
{
	struct extent_map *to = remap->to;
	struct radix_tree_iter iter, place;
	dax_pgoff_t page = remap->first;

	while (page <= remap->last &&
	       radix_tree_next(&remap->from->tree, page, remap->last, &iter)) {
		dax_pgoff_t target = remap->to_first + (iter.index - remap->first);
		int ret = radix_tree_insert(&to->tree, target, 0,
					    make_word(0, 0), &place);

		page = iter.index + 1;
		if (ret == -EEXIST)
			continue;
		if (ret)
			return dax_error(-ENOMEM, "no memory for the block map");
		smp_store_release(place.slot, shared_word(to, iter.entry, WORD_FRESH));
		atomic_fetch_add_explicit(&to->nr_blocks, 1, memory_order_relaxed);
	}
	return 0;
}

/* What stands in @to: settle what is fresh; else it gives way. */
static bool give_way(const struct radix_tree_iter *iter, void *arg)
{
	struct remap *remap = arg;
	struct extent_map *to = remap->to;
	const void *word;

	if (word_bits(iter->entry) & WORD_FRESH) {
		WRITE_ONCE(*iter->slot, make_word(word_block(iter->entry),
						  word_bits(iter->entry) & WORD_UNWRITTEN));
		return false;
	}
	word = radix_tree_lookup(&remap->from->tree,
				 remap->first + (iter->index - remap->to_first));
	if (!word)
		return free_word(iter, to);
	WRITE_ONCE(*iter->slot, shared_word(to, word, 0));
	blocks_free(&to->dev->blocks, word_block(iter->entry), 1);
	return false;
}

static int remap_pages(struct remap *remap)
{
	struct extent_map *to = remap->to;
	dax_pgoff_t last = remap->to_first + (remap->last - remap->first);
	int ret = 0;

	mutex_lock(&to->lock);
	if (radix_tree_extend(&to->tree, last))
		ret = dax_error(-ENOMEM, "no memory for the block map");
	if (!ret)
		ret = share_into_holes(remap);
	if (ret)
		radix_tree_delete_range(&to->tree, remap->to_first, last, free_fresh,
					to);
	else
		radix_tree_delete_range(&to->tree, remap->to_first, last, give_way,
					remap);
	mutex_unlock(&to->lock);
	return ret;
}

static void may_share(struct dax_mapping *mapping, struct extent_map *map)
{
	map->cloned = true;
	atomic_store_explicit(&mapping->ops, &extent_map_shared_ops,
			      memory_order_release);
}

static int extent_map_remap(struct dax_mapping *mapping, void *private_data,
			    dax_loff_t pos, struct dax_mapping *src,
			    void *src_private_data, dax_loff_t src_pos,
			    uint64_t len)
{
	struct remap remap = {
		.to = private_data, .from = src_private_data,
		.to_first = (dax_pgoff_t)pos >> DAX_PAGE_SHIFT,
		.first = (dax_pgoff_t)src_pos >> DAX_PAGE_SHIFT,
		.last = ((uint64_t)src_pos + len - 1) >> DAX_PAGE_SHIFT,
	};

	if (remap.to->dev != remap.from->dev)
		return dax_error(-EXDEV, "the files lie on different devices");
	may_share(mapping, remap.to);
	may_share(src, remap.from);
	return remap_pages(&remap);
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

bool extent_map_is(const struct dax_iomap_ops *ops)
{
	return ops == &extent_map_ops || ops == &extent_map_shared_ops;
}

const struct dax_iomap_ops extent_map_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = extent_map_begin,
	.fallocate = extent_map_fallocate,
	.punch = extent_map_punch,
	.truncate = extent_map_truncate,
	.remap = extent_map_remap,
	.free = extent_map_free,
};

static const struct dax_iomap_ops extent_map_shared_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = extent_map_begin,
	.iomap_end = extent_map_end,
	.fallocate = extent_map_fallocate,
	.punch = extent_map_punch,
	.truncate = extent_map_truncate,
	.remap = extent_map_remap,
	.free = extent_map_free,
};
