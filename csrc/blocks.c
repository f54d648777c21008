/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocks.c -- which blocks of a device are free
 *
 * Owns: two bitmaps, which cost memory only where blocks were ever touched.
 * Locks: blocks->lock; below a block map's own lock, above nothing.  Owners
 *        and pins are counted without it.
 * Kernel: the shape of fs/ext2/balloc.c: a goal, then next fit.
 */
#include "blocks.h"

#include <errno.h>

#include "errormsg.h"

static size_t bitmap_bytes(uint64_t nr)
{
	return (nr + 63) / 64 * sizeof(uint64_t);
}

static bool test_bit(const uint64_t *map, uint64_t i)
{
	return map[i / 64] >> (i % 64) & 1;
}

static void set_bits(uint64_t *map, uint64_t first, uint64_t nr, bool value)
{
	for (uint64_t i = first; i < first + nr; i++) {
		if (value)
			map[i / 64] |= UINT64_C(1) << (i % 64);
		else
			map[i / 64] &= ~(UINT64_C(1) << (i % 64));
	}
}

int blocks_init(struct block_allocator *blocks, uint64_t nr, bool stained)
{
	void *used, *stain;

	if (sys_reserve(&used, bitmap_bytes(nr)))
		goto err;
	if (sys_reserve(&stain, bitmap_bytes(nr)))
		goto err_unreserve;
	*blocks = (struct block_allocator){
		.used = used, .touched = stain, .nr = nr, .nr_free = nr,
		.stained_at_first = stained,
	};
	if (frame_table_init(&blocks->frames, nr))
		goto err_unreserve_stain;
	return 0;

err_unreserve_stain:
	sys_unreserve(stain, bitmap_bytes(nr));
err_unreserve:
	sys_unreserve(used, bitmap_bytes(nr));
err:
	return dax_error(-ENOMEM, "no address space for the bitmap of %llu blocks",
			 (unsigned long long)nr);
}

void blocks_fini(struct block_allocator *blocks)
{
	sys_unreserve(blocks->used, bitmap_bytes(blocks->nr));
	sys_unreserve(blocks->touched, bitmap_bytes(blocks->nr));
	frame_table_fini(&blocks->frames);
}

/* Length of the free run at @block, at most @nr. */
static uint64_t free_run(const struct block_allocator *blocks, uint64_t block,
			 uint64_t nr)
{
	uint64_t run = 0;

	while (run < nr && block + run < blocks->nr &&
	       !test_bit(blocks->used, block + run))
		run++;
	return run;
}

/* First aligned free block in [from, to), or @to. */
static uint64_t next_free(const struct block_allocator *blocks, uint64_t from,
			  uint64_t to, uint64_t align)
{
	uint64_t i = (from + align - 1) & ~(align - 1);

	while (i < to) {
		if (i % 64 == 0 && align <= 64 && blocks->used[i / 64] == UINT64_MAX)
			i += 64;
		else if (test_bit(blocks->used, i))
			i += align;
		else
			return i;
	}
	return to;
}

/* A run of at least @want in [from, to); returns its length, 0 if none. */
static uint64_t find_run(const struct block_allocator *blocks, uint64_t from,
			 uint64_t to, uint64_t nr, uint64_t want,
			 uint64_t align, uint64_t *ret_block)
{
	uint64_t block = from;
	uint64_t run;

	for (;;) {
		block = next_free(blocks, block, to, align);
		if (block >= to)
			return 0;
		run = free_run(blocks, block, nr);
		if (run >= want) {
			*ret_block = block;
			return run;
		}
		block += run > align ? run : align;
	}
}

uint64_t blocks_alloc(struct block_allocator *blocks, uint64_t goal,
		      uint64_t nr, uint64_t align, bool exact,
		      uint64_t *ret_block)
{
	uint64_t want = exact ? nr : 1;
	uint64_t run = 0;

	if (goal >= blocks->nr)
		goal = 0;
	mutex_lock(&blocks->lock);
	if (READ_ONCE(blocks->nr_free) >= want) {
		run = find_run(blocks, goal, blocks->nr, nr, want, align, ret_block);
		if (!run)
			run = find_run(blocks, 0, goal, nr, want, align, ret_block);
	}
	if (run) {
		set_bits(blocks->used, *ret_block, run, true);
		WRITE_ONCE(blocks->nr_free, READ_ONCE(blocks->nr_free) - run);
	}
	mutex_unlock(&blocks->lock);
	return run;
}

/* Blocks that nobody has any more. */
static void release(struct block_allocator *blocks, uint64_t block, uint64_t nr)
{
	mutex_lock(&blocks->lock);
	set_bits(blocks->used, block, nr, false);
	set_bits(blocks->touched, block, nr, !blocks->stained_at_first);
	WRITE_ONCE(blocks->nr_free, READ_ONCE(blocks->nr_free) + nr);
	mutex_unlock(&blocks->lock);
}

/* Calls @last for each block; runs of those for which it says true are free. */
static void for_each_leaving(struct block_allocator *blocks, uint64_t block,
			     uint64_t nr,
			     bool (*last)(struct frame_table *, uint64_t))
{
	uint64_t run = 0;

	for (uint64_t i = block; i < block + nr; i++) {
		if (last(&blocks->frames, i)) {
			run++;
			continue;
		}
		if (run)
			release(blocks, i - run, run);
		run = 0;
	}
	if (run)
		release(blocks, block + nr - run, run);
}

void blocks_free(struct block_allocator *blocks, uint64_t block, uint64_t nr)
{
	for_each_leaving(blocks, block, nr, frame_leave);
}

void blocks_pin(struct block_allocator *blocks, uint64_t block, uint64_t nr)
{
	for (uint64_t i = block; i < block + nr; i++)
		frame_pin(&blocks->frames, i);
}

void blocks_unpin(struct block_allocator *blocks, uint64_t block, uint64_t nr)
{
	for_each_leaving(blocks, block, nr, frame_unpin);
}

bool blocks_is_stained(struct block_allocator *blocks, uint64_t block)
{
	bool stained;

	mutex_lock(&blocks->lock);
	stained = test_bit(blocks->touched, block) != blocks->stained_at_first;
	mutex_unlock(&blocks->lock);
	return stained;
}

void blocks_set_clean(struct block_allocator *blocks, uint64_t block)
{
	mutex_lock(&blocks->lock);
	set_bits(blocks->touched, block, 1, blocks->stained_at_first);
	mutex_unlock(&blocks->lock);
}
