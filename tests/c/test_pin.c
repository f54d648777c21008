/* SPDX-License-Identifier: BSD-3-Clause */
/* test_pin.c -- bytes of a file where they are */
#define _GNU_SOURCE
#include "pin.h"

#include "fixture.h"
#include "invalidate.h"
#include "invariants.h"
#include "mock_map.h"
#include "oom.h"
#include "tmpdir.h"

enum { MIB = 1 << 20 };

static struct dax_device *dev;
static struct dax_pin pin;

static uint64_t pages_free(void)
{
	return dax_device_free_bytes(dev) / DAX_PAGE_SIZE;
}

static void unpin(void)
{
	EQ(dax_unpin_pages(&pin, 1), 0);
	EQ(pin.len, 0);
	CHECK(!frames_any_buffer());
}

static bool is_dirty(struct dax_mapping *mapping, dax_pgoff_t page)
{
	struct radix_tree_iter iter;

	return radix_tree_next(&mapping->i_pages, page, page, &iter) &&
	       radix_tree_tag_get(&iter, DAX_PAGECACHE_TAG_DIRTY);
}

static void to_read(void)
{
	struct dax_mapping *a;

	dev = new_device(MIB);
	a = new_file(dev, 6 * PAGE + 9);
	EQ(fill(a, PAGE, 5 * PAGE + 9, 'a'), 5 * PAGE + 9);
	EQ(put(a, 2 * PAGE + 5, 'b'), 0);
	EQ(dax_pin_pages(a, 2 * PAGE + 5, 100, 0, &pin), 100);
	EQ(((char *)pin.kaddr)[0] + ((char *)pin.kaddr)[1], 'b' + 'a');
	EQ(pin.pos, 2 * PAGE + 5);
	EQ(pin.len, 100);
	CHECK(pfn_to_kaddr(pin.pfn) == (char *)pin.kaddr - 5);
	CHECK(frame_is_pinned(&dev->blocks.frames, pin.pfn - dev->pfn_base));
	EQ(gauge_of(a, DAX_GAUGE_NREXCEPTIONAL), 0);
	EQ(put(a, 2 * PAGE + 6, 'c'), 0);	/* it is the file itself */
	EQ(((char *)pin.kaddr)[1], 'c');
	unpin();
	EQ(dax_unpin_pages(&pin, 1), 0);	/* nothing more to do */
	/* All that lies together, not past the end. */
	EQ(dax_pin_pages(a, PAGE + 1, SIZE_MAX, 0, &pin), 5 * PAGE + 8);
	unpin();
	EQ(dax_pin_pages(a, 6 * PAGE + 9, 1, 0, &pin), 0);
	EQ(dax_pin_pages(a, INT64_MAX, 1, 0, &pin), 0);
	EQ(dax_pin_pages(a, 0, 0, 0, &pin), 0);
	EQ(dax_pin_pages(a, -1, 1, 0, &pin), -EINVAL);
	CHECK(!frames_any_buffer());
	check_invariants(a);
	check_owners(dev, &a, 1);
	dax_mapping_put(a);
	dax_device_put(dev);
}

static void holes(void)
{
	struct dax_mapping *a;

	dev = new_device(MIB);
	a = new_file(dev, 3 * PMD);
	EQ(dax_mapping_fallocate(a, 0, PAGE), 0);
	EQ(dax_pin_pages(a, 100, 10, 0, &pin), 10);	/* UNWRITTEN */
	EQ(pin.pfn, DAX_ZERO_PFN);
	EQ(*(char *)pin.kaddr, 0);
	CHECK(!frames_any_buffer());	/* nobody waits for a zero page */
	unpin();
	EQ(dax_pin_pages(a, PAGE + 5, 4 * PMD, 0, &pin), PMD - 5);
	EQ(pin.pfn, DAX_HUGE_ZERO_PFN);
	EQ(((char *)pin.kaddr)[PMD - 6], 0);
	EQ(dax_mapping_punch_hole(a, 0, 3 * PMD), 0);	/* does not wait */
	unpin();
	dax_test.no_huge_zero = true;
	EQ(dax_pin_pages(a, PAGE + 5, PMD, 0, &pin), PAGE - 5);
	unpin();
	dax_test.no_huge_zero = false;
	EQ(pages_free(), 256);
	dax_mapping_put(a);
	dax_device_put(dev);
}

/* Blocks are allocated, entries DIRTY, at the start and again at the end. */
static void to_write(void)
{
	struct dax_mapping *a;
	struct dax_vma *vma;

	dev = new_device(MIB);
	a = new_file(dev, 8 * PAGE);
	vma = map_shared(a, 8 * PAGE);
	EQ(load(vma, DAX_PAGE_SIZE), 0);		/* a zero page, to go */
	EQ(dax_pin_pages(a, 10, 3 * PAGE, 1, &pin), 3 * PAGE);
	EQ(pages_free(), 256 - 4);
	for (dax_pgoff_t i = 0; i < 4; i++)
		CHECK(is_dirty(a, i));
	CHECK(!is_dirty(a, 4));
	((char *)pin.kaddr)[PAGE] = 'p';
	EQ(load(vma, DAX_PAGE_SIZE + 10), 'p');
	EQ(get(a, PAGE + 10), 'p');
	EQ(store(vma, DAX_PAGE_SIZE + 11, 'q'), 0);
	EQ(((char *)pin.kaddr)[PAGE + 1], 'q');
	EQ(dax_mapping_writeback(a, 0, UINT64_MAX), 4);
	CHECK(!is_dirty(a, 1));
	((char *)pin.kaddr)[PAGE] = 'r';
	unpin();
	CHECK(is_dirty(a, 0) && is_dirty(a, 3) && !is_dirty(a, 4));
	EQ(load(vma, DAX_PAGE_SIZE + 10), 'r');
	check_invariants(a);
	check_owners(dev, &a, 1);
	dax_vma_put(vma);
	dax_mapping_put(a);
	dax_device_put(dev);
}

/* A shared block is copied first; a pin to read shows the frame it found. */
static void shared(void)
{
	struct dax_mapping *file[2], *b = NULL;
	struct dax_pin old;

	dev = new_device(MIB);
	file[0] = new_file(dev, 2 * PAGE);
	EQ(fill(file[0], 0, 2 * PAGE, 'a'), 2 * PAGE);
	MUST(!dax_mapping_clone(&b, file[0]));
	file[1] = b;
	EQ(dax_pin_pages(file[0], 0, PAGE, 0, &old), PAGE);
	EQ(dax_pin_pages(file[0], 0, PAGE, 1, &pin), PAGE);
	CHECK(pin.pfn != old.pfn);
	*(char *)pin.kaddr = 'w';
	EQ(*(char *)old.kaddr, 'a');
	EQ(get(b, 0), 'a');
	EQ(get(file[0], 0), 'w');
	EQ(((char *)pin.kaddr)[1], 'a');
	EQ(dax_unpin_pages(&old, 0), 0);
	unpin();
	check_owners(dev, file, 2);
	/* The last owner goes before the pin: the block stays until that does. */
	EQ(dax_pin_pages(b, PAGE, PAGE, 0, &pin), PAGE);
	EQ(put(b, PAGE, 'b'), 0);		/* b has another one now */
	EQ(put(file[0], PAGE, 'A'), 0);		/* file[0] owns it alone */
	EQ(*(char *)pin.kaddr, 'A');
	dax_mapping_put(file[0]);
	EQ(pages_free(), 256 - 3);
	EQ(*(char *)pin.kaddr, 'A');
	unpin();
	EQ(pages_free(), 256 - 2);
	check_owners(dev, &b, 1);
	dax_mapping_put(b);
	dax_device_put(dev);
}

/* Blocks that do not lie together come one pin at a time. */
static void fragments(void)
{
	struct dax_mapping *a, *b;

	dev = new_device(MIB);
	a = new_file(dev, 4 * PAGE);
	b = new_file(dev, 4 * PAGE);
	for (int i = 0; i < 4; i++) {
		EQ(put(a, i * PAGE, 'a'), 0);
		EQ(put(b, i * PAGE, 'b'), 0);
	}
	for (int write = 0; write < 2; write++) {
		EQ(dax_pin_pages(a, PAGE + 7, 4 * PAGE, write, &pin), PAGE - 7);
		unpin();
	}
	check_invariants(a);
	check_owners(dev, (struct dax_mapping *[]){ a, b }, 2);
	dax_mapping_put(a);
	dax_mapping_put(b);
	dax_device_put(dev);
}

static void full(void)
{
	struct dax_mapping *a;

	dev = new_device(3 * PAGE);
	a = new_file(dev, 8 * PAGE);
	EQ(dax_pin_pages(a, 0, 8 * PAGE, 1, &pin), 3 * PAGE);	/* what there is */
	CHECK(frames_any_buffer());
	unpin();
	EQ(dax_pin_pages(a, 3 * PAGE, 1, 1, &pin), -ENOSPC);
	CHECK(!frames_any_buffer());
	EQ(dax_pin_pages(a, 3 * PAGE, 1, 0, &pin), 1);
	unpin();
	check_owners(dev, &a, 1);
	dax_mapping_put(a);
	dax_device_put(dev);
}

/* The pin holds the file, and that its device. */
static void holds_the_file(void)
{
	struct dax_mapping *a;

	dev = new_device(MIB);
	a = new_file(dev, PAGE);
	EQ(dax_pin_pages(a, 0, PAGE, 1, &pin), PAGE);
	dax_mapping_put(a);
	EQ(dax_device_nr_files(dev), 1);
	((char *)pin.kaddr)[7] = 'x';
	unpin();
	EQ(dax_device_nr_files(dev), 0);
	EQ(pages_free(), 256);
	dax_device_put(dev);
}

static void pin_without_memory(void)
{
	struct dax_mapping *a;

	dev = new_device(4 * MIB);
	OOM_LOOP(n) {
		ssize_t ret;

		a = new_file(dev, 2 * PMD);
		oom_fail_nth(n);
		ret = dax_pin_pages(a, PMD - PAGE, 2 * PAGE, 1, &pin);
		oom_clear();
		check_invariants(a);
		if (!oom_fired())
			EQ(ret, 2 * PAGE);
		else
			CHECK(ret == -ENOMEM || ret == PAGE);
		EQ(frames_any_buffer(), ret > 0);
		if (ret > 0)
			unpin();
		check_owners(dev, &a, 1);
		dax_mapping_put(a);
		EQ(pages_free(), 1024);
		if (!oom_fired())
			break;
	}
	CHECK(oom_rounds() > 2);
	dax_device_put(dev);
}

/* Marking DIRTY again may fail: the pin stays, and can be dropped without. */
static void unpin_without_memory(void)
{
	struct dax_mapping *a;

	dev = new_device(MIB);
	a = new_file(dev, PAGE);
	EQ(dax_pin_pages(a, 0, PAGE, 1, &pin), PAGE);
	EQ(dax_mapping_writeback(a, 0, UINT64_MAX), 1);
	/* Its entry goes, and with it the only node. */
	MUST(!mapping_lock_both(a));
	EQ(remove_mapping_pages(a, 0, 0), 0);
	mapping_unlock_both(a);
	oom_fail_nth(1);
	EQ(dax_unpin_pages(&pin, 1), -ENOMEM);
	oom_clear();
	EQ(pin.len, PAGE);
	CHECK(frames_any_buffer());
	EQ(dax_unpin_pages(&pin, 1), 0);
	CHECK(is_dirty(a, 0));
	EQ(dax_pin_pages(a, 0, PAGE, 1, &pin), PAGE);
	EQ(dax_mapping_writeback(a, 0, UINT64_MAX), 1);
	EQ(dax_unpin_pages(&pin, 0), 0);	/* nothing was stored */
	CHECK(!is_dirty(a, 0) && !frames_any_buffer());
	dax_mapping_put(a);
	dax_device_put(dev);
}

static void refused(void)
{
	const char *path = tmp_file("ro", MIB, 'r');
	struct mock mock = { 0 };
	struct dax_mapping *a;

	MUST(!dax_device_open(&dev, path, 0, 0));
	a = mock_file(&mock, dev, 8 * PAGE);
	EQ(dax_pin_pages(a, 5, 2 * PAGE, 1, &pin), -EROFS);
	EQ(gauge_of(a, DAX_GAUGE_NREXCEPTIONAL), 1);	/* EMPTY */
	CHECK(!is_dirty(a, 0));
	EQ(dax_pin_pages(a, 5, 2 * PAGE, 0, &pin), 2 * PAGE);
	EQ(*(char *)pin.kaddr, 'r');
	EQ(dax_device_kill(dev), 0);
	unpin();				/* a dead device lets go */
	EQ(dax_pin_pages(a, 5, 2 * PAGE, 0, &pin), -ENXIO);
	dax_mapping_put(a);
	dax_device_put(dev);
	CHECK(mock_is_paired(&mock));

	dev = new_device(MIB);
	mock = (struct mock){ .answer = mock_fixed };
	a = mock_file(&mock, dev, 8 * PAGE);
	for (int write = 0; write < 2; write++) {
		mock.fixed = (struct dax_iomap){ .type = DAX_IOMAP_MAPPED, .addr = 512,
						 .length = MIB, .dax_dev = dev };
		EQ(dax_pin_pages(a, 0, PAGE, write, &pin), -EINVAL);
		mock.fixed.type = 7;
		EQ(dax_pin_pages(a, 0, PAGE, write, &pin), -EIO);
		mock.fixed = (struct dax_iomap){ .type = DAX_IOMAP_MAPPED, .addr = 1 << 30,
						 .length = MIB, .dax_dev = dev };
		EQ(dax_pin_pages(a, 0, PAGE, write, &pin), -ERANGE);
		mock.ret = -EUCLEAN;
		EQ(dax_pin_pages(a, 0, PAGE, write, &pin), -EUCLEAN);
		mock.ret = 0;
	}
	mock.fixed = (struct dax_iomap){ .type = DAX_IOMAP_HOLE, .length = MIB };
	EQ(dax_pin_pages(a, 0, PAGE, 1, &pin), -EIO);
	CHECK(!frames_any_buffer());
	check_tree_and_leaves(a);
	dax_mapping_put(a);
	dax_device_put(dev);
}

int main(void)
{
	tmpdir_make();
	plan(10);
	run("to read: the bytes themselves", to_read);
	run("a hole is the common zero page", holes);
	run("to write: blocks, and DIRTY twice", to_write);
	run("shared blocks", shared);
	run("blocks that do not lie together", fragments);
	run("the device is full", full);
	run("a pin holds its file", holds_the_file);
	run("every allocation of a pin fails in turn", pin_without_memory);
	run("no memory to mark DIRTY again", unpin_without_memory);
	run("what cannot be pinned", refused);
	return done();
}
