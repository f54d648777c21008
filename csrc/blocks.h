/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * blocks.h -- which blocks of a device are free
 *
 * A block is a page of the device.  Two bits for each: in use, and stained
 * (it may hold bytes of somebody: it is zeroed before it is handed out).  A
 * block that has several owners or is pinned (frames.h) is in use until the
 * last of them has left.
 */
#ifndef DAXCORE_BLOCKS_H
#define DAXCORE_BLOCKS_H

#include <stdint.h>

#include "frames.h"
#include "sys.h"

struct block_allocator {
	struct mutex lock;	/* guards all below */
	uint64_t *used;
	uint64_t *touched;	/* stained is the opposite of what it was at first */
	bool stained_at_first;
	uint64_t nr;
	_Atomic uint64_t nr_free;
	struct frame_table frames;	/* atomic words: not the lock's */
};

/* @stained: the device's present content is unknown.  0 or -ENOMEM. */
int blocks_init(struct block_allocator *blocks, uint64_t nr, bool stained);
void blocks_fini(struct block_allocator *blocks);

/*
 * Take up to @nr neighbouring blocks, aligned to @align (a power of two),
 * beginning at @goal if that is free, else wherever a run is.  With @exact
 * only all @nr will do.  Returns how many, from *@ret_block on, 0 when there
 * are none.
 */
uint64_t blocks_alloc(struct block_allocator *blocks, uint64_t goal,
		      uint64_t nr, uint64_t align, bool exact,
		      uint64_t *ret_block);

/* One owner of each block leaves.  Those that nobody has any more are free, and
 * stained from now on. */
void blocks_free(struct block_allocator *blocks, uint64_t block, uint64_t nr);

/* Pins of blocks: while there is one a block is not free, whoever leaves it. */
void blocks_pin(struct block_allocator *blocks, uint64_t block, uint64_t nr);
void blocks_unpin(struct block_allocator *blocks, uint64_t block, uint64_t nr);

bool blocks_is_stained(struct block_allocator *blocks, uint64_t block);
void blocks_set_clean(struct block_allocator *blocks, uint64_t block);

#endif
