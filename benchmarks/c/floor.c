/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * floor.c -- what no fault can avoid, and nothing else
 *
 * Owns: its tree and its page table; memory from the library's allocator.
 * Locks: bit 2 of a slot, taken by compare-and-swap.
 */
#include "floor.h"

#include <errno.h>

#include "compiler.h"
#include "sys.h"

#define FLOOR_SHIFT	9
#define FLOOR_SLOTS	(1u << FLOOR_SHIFT)

enum {
	FLOOR_EMPTY_LOCKED = 0x26,	/* exceptional | locked | empty */
	FLOOR_ZERO = 0x52,		/* exceptional | zero page, PFN 1 */
	FLOOR_LEAF = 0x1005		/* PFN 1, present, readable */
};

struct table {
	_Atomic uintptr_t slot[FLOOR_SLOTS];
};

struct floor {
	struct table *tree;
	struct table *page_table;
	unsigned int top;	/* shift of the root's index */
};

static struct table *table_new(void)
{
	return dax_zalloc(sizeof(struct table));
}

int floor_new(struct floor **ret_floor, uint64_t nr_pages)
{
	struct floor *fl = dax_zalloc(sizeof(*fl));

	if (!fl)
		return -ENOMEM;
	while ((nr_pages - 1) >> fl->top >> FLOOR_SHIFT)
		fl->top += FLOOR_SHIFT;
	fl->tree = table_new();
	fl->page_table = table_new();
	if (!fl->tree || !fl->page_table) {
		floor_free(fl);
		return -ENOMEM;
	}
	*ret_floor = fl;
	return 0;
}

static void table_free(struct table *table, unsigned int shift)
{
	for (unsigned int i = 0; shift && i < FLOOR_SLOTS; i++) {
		struct table *below = (void *)READ_ONCE(table->slot[i]);

		if (below)
			table_free(below, shift - FLOOR_SHIFT);
	}
	dax_free(table);
}

void floor_free(struct floor *fl)
{
	if (fl->tree)
		table_free(fl->tree, fl->top);
	if (fl->page_table)
		table_free(fl->page_table, fl->top);
	dax_free(fl);
}

/* Empty the words below; free the tables of them if @drop. */
static void table_clear(struct table *table, unsigned int shift, bool drop)
{
	for (unsigned int i = 0; i < FLOOR_SLOTS; i++) {
		uintptr_t word = READ_ONCE(table->slot[i]);

		if (!word)
			continue;
		if (shift)
			table_clear((void *)word, shift - FLOOR_SHIFT, drop);
		if (shift && drop)
			dax_free((void *)word);
		if (!shift || drop)
			WRITE_ONCE(table->slot[i], 0);
	}
}

uint64_t floor_clear(struct floor *fl)
{
	uint64_t start = sys_clock_ns();

	table_clear(fl->page_table, fl->top, false);
	table_clear(fl->tree, fl->top, true);
	return sys_clock_ns() - start;
}

/* Another thread may install first: its table is then the one to use. */
static __attribute__((noinline)) struct table *
table_install(_Atomic uintptr_t *slot)
{
	struct table *table = table_new();
	uintptr_t old = 0;

	if (!table)
		return NULL;
	if (atomic_compare_exchange_strong_explicit(
		    slot, &old, (uintptr_t)table, memory_order_acq_rel,
		    memory_order_acquire))
		return table;
	dax_free(table);
	return (struct table *)old;
}

static __always_inline_fn _Atomic uintptr_t *
table_walk(struct table *table, unsigned int shift, uint64_t index)
{
	for (; shift; shift -= FLOOR_SHIFT) {
		_Atomic uintptr_t *slot =
			&table->slot[(index >> shift) % FLOOR_SLOTS];

		table = (struct table *)smp_load_acquire(slot);
		if (unlikely(!table)) {
			table = table_install(slot);
			if (!table)
				return NULL;
		}
	}
	return &table->slot[index % FLOOR_SLOTS];
}

static __always_inline_fn int floor_fault(struct floor *fl, uint64_t index)
{
	_Atomic uintptr_t *slot, *leaf;
	uintptr_t absent = 0;

	slot = table_walk(fl->tree, fl->top, index);
	if (unlikely(!slot))
		return -ENOMEM;
	if (unlikely(!atomic_compare_exchange_strong_explicit(
		    slot, &absent, FLOOR_EMPTY_LOCKED, memory_order_acquire,
		    memory_order_relaxed)))
		return -EBUSY;
	leaf = table_walk(fl->page_table, fl->top, index);
	if (unlikely(!leaf)) {
		smp_store_release(slot, 0);
		return -ENOMEM;
	}
	WRITE_ONCE(*leaf, FLOOR_LEAF);
	smp_store_release(slot, FLOOR_ZERO);
	return 0;
}

int floor_fault_range(struct floor *fl, uint64_t pgoff, uint64_t nr)
{
	int ret = 0;

	for (uint64_t i = 0; i < nr && !ret; i++)
		ret = floor_fault(fl, pgoff + i);
	return ret;
}

int floor_fault_many(struct floor *fl, const uint64_t *pgoffs, size_t nr)
{
	int ret = 0;

	for (size_t i = 0; i < nr && !ret; i++)
		ret = floor_fault(fl, pgoffs[i]);
	return ret;
}
