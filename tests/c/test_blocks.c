/* SPDX-License-Identifier: BSD-3-Clause */
/* test_blocks.c -- free blocks: goals, alignment, stains */
#include "blocks.h"

#include <errno.h>
#include <string.h>

#include "oom.h"
#include "tap.h"

enum { NR = 1500 };	/* not a multiple of 64 */

static struct block_allocator blocks;

static uint64_t take(uint64_t goal, uint64_t nr, uint64_t align, bool exact,
		     uint64_t *ret_block)
{
	*ret_block = UINT64_MAX;
	return blocks_alloc(&blocks, goal, nr, align, exact, ret_block);
}

/* Take exactly [block, block + nr). */
static void occupy(uint64_t block, uint64_t nr)
{
	uint64_t got;

	MUST(take(block, nr, 1, true, &got) == nr && got == block);
}

static void at_goal(void)
{
	uint64_t block;

	MUST(!blocks_init(&blocks, NR, false));
	EQ(blocks.nr_free, NR);
	EQ(take(100, 10, 1, false, &block), 10);
	EQ(block, 100);
	EQ(blocks.nr_free, NR - 10);
	EQ(take(100, 10, 1, false, &block), 10);	/* next fit */
	EQ(block, 110);
	EQ(take(0, 1, 1, false, &block), 1);
	EQ(block, 0);
	EQ(take(NR + 7, 1, 1, false, &block), 1);	/* no such goal: 0 */
	EQ(block, 1);
	blocks_fini(&blocks);
}

/* From the goal to the end, then from the front to the goal. */
static void around(void)
{
	uint64_t block;

	MUST(!blocks_init(&blocks, NR, false));
	EQ(take(NR - 5, 10, 1, false, &block), 5);
	EQ(block, NR - 5);
	EQ(take(NR - 5, 10, 1, false, &block), 10);
	EQ(block, 0);
	occupy(10, NR - 15 - 1);
	EQ(take(700, 10, 1, false, &block), 1);	/* the last one */
	EQ(block, NR - 6);
	EQ(blocks.nr_free, 0);
	EQ(take(700, 1, 1, false, &block), 0);
	EQ(take(0, 1, 1, true, &block), 0);
	EQ(block, UINT64_MAX);
	blocks_fini(&blocks);
}

/* What comes short is taken short, unless all is asked for. */
static void exact(void)
{
	uint64_t block;

	MUST(!blocks_init(&blocks, NR, false));
	occupy(3, 1);
	occupy(10, 1);
	occupy(40, 1);
	EQ(take(0, 8, 1, false, &block), 3);
	EQ(block, 0);
	EQ(take(0, 8, 1, true, &block), 8);
	EQ(block, 11);
	EQ(take(0, NR, 1, true, &block), 0);
	EQ(take(0, NR - 41, 1, true, &block), NR - 41);
	EQ(block, 41);
	blocks_fini(&blocks);
}

static void aligned(void)
{
	uint64_t block;

	MUST(!blocks_init(&blocks, NR, false));
	occupy(0, 1);
	EQ(take(1, 512, 512, true, &block), 512);
	EQ(block, 512);
	EQ(take(0, 512, 512, true, &block), 0);	/* 1024 + 512 > NR, 0 is used */
	blocks_free(&blocks, 0, 1);
	EQ(take(600, 512, 512, true, &block), 512);
	EQ(block, 0);
	EQ(take(0, 4, 8, false, &block), 4);
	EQ(block, 1024);
	EQ(take(0, 4, 8, false, &block), 4);
	EQ(block, 1032);
	EQ(take(1025, 1, 2, false, &block), 1);
	EQ(block, 1028);
	blocks_fini(&blocks);
}

static void stains(void)
{
	uint64_t block;

	MUST(!blocks_init(&blocks, NR, false));
	CHECK(!blocks_is_stained(&blocks, 0) && !blocks_is_stained(&blocks, NR - 1));
	EQ(take(5, 3, 1, false, &block), 3);
	CHECK(!blocks_is_stained(&blocks, 5));
	blocks_free(&blocks, 5, 3);
	EQ(blocks.nr_free, NR);
	CHECK(!blocks_is_stained(&blocks, 4) && !blocks_is_stained(&blocks, 8));
	for (uint64_t i = 5; i < 8; i++)
		CHECK(blocks_is_stained(&blocks, i));
	EQ(take(5, 3, 1, false, &block), 3);
	CHECK(blocks_is_stained(&blocks, 6));	/* taking does not clean */
	blocks_set_clean(&blocks, 6);
	CHECK(!blocks_is_stained(&blocks, 6) && blocks_is_stained(&blocks, 5) &&
	      blocks_is_stained(&blocks, 7));
	blocks_fini(&blocks);
	MUST(!blocks_init(&blocks, NR, true));
	CHECK(blocks_is_stained(&blocks, 0) && blocks_is_stained(&blocks, NR - 1));
	blocks_fini(&blocks);
}

static void no_memory(void)
{
	OOM_LOOP(n) {
		int ret;

		oom_fail_nth(n);
		ret = blocks_init(&blocks, NR, true);
		oom_clear();
		if (!oom_fired()) {
			EQ(ret, 0);
			break;
		}
		EQ(ret, -ENOMEM);
	}
	EQ(oom_rounds(), 3);
	blocks_fini(&blocks);
}

/* ---- against arrays --------------------------------------------------------------- */

static bool used[NR], stained[NR];

static bool fits(uint64_t block, uint64_t nr)
{
	if (block + nr > NR)
		return false;
	for (uint64_t i = block; i < block + nr; i++)
		if (used[i])
			return false;
	return true;
}

/* Is there any place for an allocation that was refused? */
static bool any_fit(uint64_t want, uint64_t align)
{
	for (uint64_t b = 0; b < NR; b += align)
		if (fits(b, want))
			return true;
	return false;
}

static void model_alloc(uint64_t r)
{
	uint64_t goal = r % NR, align = UINT64_C(1) << (r >> 20 & 7), block;
	uint64_t nr = 1 + (r >> 32 & 31);
	bool all = r >> 40 & 1;
	uint64_t got = take(goal, nr, align, all, &block);

	if (!got) {
		CHECK(!any_fit(all ? nr : 1, align));
		return;
	}
	CHECK(got <= nr && (!all || got == nr) && block % align == 0);
	CHECK(fits(block, got));
	CHECK(got == nr || !fits(block, got + 1));	/* as many as there are */
	for (uint64_t i = block; i < block + got; i++)
		used[i] = true;
}

static void model_free(uint64_t r)
{
	uint64_t block = r % NR, nr = 0;

	while (nr < (r >> 32 & 31) && block + nr < NR && used[block + nr]) {
		used[block + nr] = false;
		stained[block + nr++] = true;
	}
	blocks_free(&blocks, block, nr);
}

static void randomised(void)
{
	uint64_t seed = UINT64_C(0x9E3779B97F4A7C15), nr_free;

	MUST(!blocks_init(&blocks, NR, false));
	memset(used, 0, sizeof(used));
	memset(stained, 0, sizeof(stained));
	for (int step = 0; step < 20000; step++) {
		seed ^= seed << 13;
		seed ^= seed >> 7;
		seed ^= seed << 17;
		if (seed >> 60 < 6)
			model_alloc(seed);
		else
			model_free(seed);
	}
	nr_free = 0;
	for (uint64_t i = 0; i < NR; i++) {
		nr_free += !used[i];
		CHECK(blocks_is_stained(&blocks, i) == stained[i]);
	}
	EQ(blocks.nr_free, nr_free);
	blocks_fini(&blocks);
}

static bool is_free(uint64_t block)
{
	return !(blocks.used[block / 64] >> (block % 64) & 1);
}

/* Of a run that is given back only what nobody has is free: 10 and 13 have a
 * second owner, 12 is pinned. */
static void last_owner_frees(void)
{
	MUST(!blocks_init(&blocks, NR, false));
	occupy(10, 5);
	frame_share(&blocks.frames, 10);
	frame_share(&blocks.frames, 13);
	blocks_pin(&blocks, 12, 1);
	blocks_free(&blocks, 10, 5);
	EQ(blocks.nr_free, NR - 3);
	CHECK(is_free(11) && is_free(14));
	CHECK(!is_free(10) && !is_free(12) && !is_free(13));
	CHECK(blocks_is_stained(&blocks, 11) && !blocks_is_stained(&blocks, 10));
	blocks_unpin(&blocks, 12, 1);
	CHECK(is_free(12) && blocks_is_stained(&blocks, 12));
	blocks_free(&blocks, 13, 1);
	blocks_free(&blocks, 10, 1);
	EQ(blocks.nr_free, NR);
	blocks_fini(&blocks);
}

int main(void)
{
	plan(8);
	run("at the goal, else behind it", at_goal);
	run("around the end, until nothing is left", around);
	run("short runs, and all or nothing", exact);
	run("alignment", aligned);
	run("freed blocks are stained until they are cleaned", stains);
	run("the last owner or pin of a block frees it", last_owner_frees);
	run("every allocation fails in turn", no_memory);
	run("20000 random steps agree with arrays", randomised);
	return done();
}
