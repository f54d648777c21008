/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * test_rounds_truncate.c -- a fault races a truncate: 100000 rounds (10000 under
 * a sanitizer)
 *
 * The access gets the old data or SIGBUS; afterwards there is no leaf, no entry
 * and no block behind the end, and when the file grows the page reads as zero.
 */
#include "invariants.h"
#include "rounds.h"
#include "white_box.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { ROUNDS = 10000 };
#else
enum { ROUNDS = 100000 };
#endif

enum { PAGES = 2 * PMD_PAGES };

static struct dax_vma *vma;
static dax_pgoff_t victim;
static uint64_t nr_old, nr_sigbus;

static uint64_t victim_pos(void)
{
	return victim << DAX_PAGE_SHIFT;
}

static void cut(unsigned int round)
{
	rounds_delay(round + 1, 6);
	EQ(dax_mapping_truncate(fx.file, round & 2 ? 0 : 4096 * 2 + 5), 0);
}

/* A load of a page that is mapped or not, or a store. */
static void touch_page(unsigned int round)
{
	struct dax_fault_info info;
	char byte = 'y';
	ssize_t ret;

	rounds_delay(round, 9);
	if (round % 3)
		ret = dax_vma_read(vma, &byte, 1, victim_pos(), &info);
	else
		ret = dax_vma_write(vma, &byte, 1, victim_pos(), &info);
	if (ret == 1) {
		nr_old++;
		CHECK(byte == (round % 3 ? 'x' : 'y'));
	} else {
		nr_sigbus++;
		EQ(ret, -EFAULT);
		EQ(info.fault, DAX_VM_FAULT_SIGBUS);
	}
}

static void look(unsigned int round)
{
	char byte = 1;

	EQ(word_at(victim), 0);
	EQ(vma_soft_leaf(vma, victim), 0);
	EQ(inv_mapped_pfn(fx.file, victim), UINT64_MAX);
	if (round % 64 == 0)
		check_tree_and_leaves(fx.file);
	EQ(dax_mapping_truncate(fx.file, PAGES * 4096), 0);
	EQ(dax_vma_read(vma, &byte, 1, victim_pos(), NULL), 1);
	EQ(byte, 0);
	/* Data for the next round: mapped, or in the block map alone. */
	EQ(dax_mapping_pwrite(fx.file, "x", 1, (dax_loff_t)victim_pos()), 1);
	if (round & 1)
		EQ(dax_vma_read(vma, &byte, 1, victim_pos(), NULL), 1);
}

static void race(dax_pgoff_t page, unsigned int pages, unsigned int nr)
{
	const rounds_fn actors[] = { cut, touch_page };

	fx_open_real(PAGES);
	victim = page;
	vma = fx_vma(0, PAGES, RW_SHARED, pages);
	nr_old = nr_sigbus = 0;
	EQ(dax_mapping_pwrite(fx.file, "x", 1, (dax_loff_t)victim_pos()), 1);
	dax_test.yield = jitter;
	rounds_run(nr, actors, 2, look);
	dax_test.yield = NULL;
	printf("# %" PRIu64 " times old data, %" PRIu64 " times SIGBUS\n", nr_old,
	       nr_sigbus);
	CHECK(nr_old && nr_sigbus);	/* it was a race */
	check_invariants(fx.file);
	dax_vma_put(vma);
	fx_close();
}

static void by_4_kib(void)
{
	race(3, DAX_PAGES_PTE, ROUNDS * 3 / 4);
}

static void by_2_mib(void)
{
	race(700, DAX_PAGES_AUTO, ROUNDS / 4);
}

int main(void)
{
	plan(2);
	run("old data or SIGBUS, never stale data afterwards, 4 KiB", by_4_kib);
	run("the same, 2 MiB", by_2_mib);
	return done();
}
