/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sparse_file.c -- a block map that is the file's own
 *
 * Owns: what is known of the file's holes, and up to when it is true.
 * Locks: sf->lock to add pages beside readers, inside entry locks; pages are
 *        taken out, and the file is looked over, with i_rwsem and
 *        invalidate_lock exclusive.  A question takes no lock and no system
 *        call.
 * Kernel: the file system; the way there is lseek(SEEK_DATA, SEEK_HOLE),
 *         FIEMAP, fallocate() and a store to the window.
 *
 * Blocks are taken by touching the page in the window: it is what costs least
 * for a page, and it cannot destroy what another program wrote meanwhile, as
 * writing zeroes could.  The touch is guarded: a full file system is an answer.
 *
 * Other programs change the file, and so do we, by calls and by the CPU: ctime
 * says that it was changed, not by whom.  As long as it may have been, a call
 * that could show somebody a hole asks the file system about that hole, and no
 * other (check_holes).  The opposite mistake, data that is a hole by now, shows
 * the right bytes.  All of the file is looked over as often as it can be
 * afforded, for what nobody asks about: leaves that show zeroes.
 */
#include "sparse_file.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "copy_mc.h"
#include "errormsg.h"
#include "fault_delivery.h"
#include "invalidate.h"
#include "iomap.h"

enum {
	TOUCH_PAGES = 512,	/* touched for one answer, at most */
	LOOK_SHARE = 64		/* one part of so many of the time is spent looking */
};

/* Times within a tick of the clock of file times are not told apart. */
static const int64_t tick_ns = 20000000;
/* A write(2) takes the time when it begins, and its bytes come later. */
static const int64_t quiet_ns = 1000000000;

static struct sparse_file *to_sparse(struct dax_mapping *mapping)
{
	return mapping->private_data;
}

static __cold int sys_failed(const struct sparse_file *sf, int err,
			     const char *what)
{
	return dax_error(err, "%s: cannot %s: %s", sf->dev->path, what,
			 strerror(-err));
}

static int file_info(const struct sparse_file *sf, struct sys_file_info *ret_info)
{
	int ret = sys_file_info(sf->dev->fd, ret_info);

	return ret ? sys_failed(sf, ret, "ask its size") : 0;
}

static dax_pgoff_t page_of(uint64_t pos)
{
	return pos >> DAX_PAGE_SHIFT;
}

static dax_pgoff_t pages_up(uint64_t pos)
{
	return (pos + DAX_PAGE_SIZE - 1) >> DAX_PAGE_SHIFT;
}

static dax_pgoff_t window_pages(const struct sparse_file *sf)
{
	return sf->dev->size >> DAX_PAGE_SHIFT;
}

static int check_window(const struct sparse_file *sf, uint64_t size)
{
	if (size <= sf->dev->size)
		return 0;
	return dax_error(-EFBIG, "%s: %" PRIu64 " bytes are more than the window of %"
			 PRIu64 " bytes that was opened on it can show: close it "
			 "everywhere in this process, and open it with that size",
			 sf->dev->path, size, sf->dev->size);
}

/* ---- up to when ------------------------------------------------------------------ */

/* The next call looks the file over. */
static void forget_stamp(struct sparse_file *sf)
{
	WRITE_ONCE(sf->look_cost, 0);
	WRITE_ONCE(sf->stamp, INT64_MIN);
}

/* In this order: who finds the new stamp does not find when the old one was to be
 * looked at again. */
static void set_stamp(struct sparse_file *sf, int64_t ctime_ns, int64_t now)
{
	int64_t age = now - ctime_ns;

	WRITE_ONCE(sf->look_at, INT64_MIN);
	smp_store_release(&sf->stamp, ctime_ns);
	if (age >= tick_ns)
		smp_store_release(&sf->look_at,
				  age < quiet_ns ? ctime_ns + quiet_ns : INT64_MAX);
}

/* Is all that is known of the file true? */
static bool is_known(struct dax_mapping *mapping, const struct sys_file_info *info)
{
	struct sparse_file *sf = to_sparse(mapping);

	return info->ctime_ns == smp_load_acquire(&sf->stamp) &&
	       smp_load_acquire(&sf->look_at) == INT64_MAX &&
	       (dax_loff_t)info->size == i_size_read(mapping);
}

/* Would looking it over tell more than the last time?  true: the caller does. */
static bool shall_look_over(struct sparse_file *sf, const struct sys_file_info *info)
{
	uint64_t before = READ_ONCE(sf->looked), now = sys_clock_ns();

	if (info->ctime_ns == smp_load_acquire(&sf->stamp) &&
	    sys_clock_real_ns() < smp_load_acquire(&sf->look_at))
		return false;
	return now - before >= READ_ONCE(sf->look_cost) * LOOK_SHARE &&
	       atomic_compare_exchange_strong(&sf->looked, &before, now);
}

/* ---- looking the file over (alone) ------------------------------------------------ */

/* A walk over the data of the file; @mapping is NULL when nothing is shown. */
struct scan {
	struct sparse_file *sf;
	struct dax_mapping *mapping;
	dax_pgoff_t next;	/* first page not yet decided */
	uint64_t nr_data;	/* pages */
	int64_t time;		/* when it began */
};

/* Data entries that had to stay are still shown: their pages stay data, and
 * read from the window what the hole holds, zeroes. */
static void keep_shown(struct scan *scan, dax_pgoff_t first, dax_pgoff_t last)
{
	struct radix_tree_iter iter;

	while (radix_tree_next(&scan->mapping->i_pages, first, last, &iter)) {
		dax_pgoff_t end = radix_tree_iter_last(&iter);

		page_set_assign(&scan->sf->data, iter.index > first ? iter.index : first,
				end < last ? end : last, true);
		if (end >= last)
			return;
		first = end + 1;
	}
}

/* Pages are not what they were: so are entries and leaves. */
static void change_pages(struct scan *scan, dax_pgoff_t first, dax_pgoff_t last,
			 bool data)
{
	struct dax_mapping *mapping = scan->mapping;

	page_set_assign(&scan->sf->data, first, last, data);
	if (!mapping)
		return;
	invalidate_pages_range(mapping, this_percpu(&mapping->percpu), first, last,
			       data, 0);
	if (!data)
		keep_shown(scan, first, last);
}

/* Pages from scan->next to before @end are @data. */
static void decide(struct scan *scan, dax_pgoff_t end, bool data)
{
	while (scan->next < end) {
		dax_pgoff_t first = scan->next;
		uint64_t run;

		if (page_set_run(&scan->sf->data, first, end - 1, &run) != data)
			change_pages(scan, first, first + run - 1, data);
		scan->next = first + run;
	}
}

/* One run of data at or after @pos; its end, or -ENXIO: there is none. */
static int64_t scan_run(struct scan *scan, uint64_t pos, uint64_t size)
{
	int fd = scan->sf->dev->fd;
	int64_t start = sys_seek_data(fd, pos), end;

	if (start < 0)
		return start;
	if ((uint64_t)start >= size)
		return -ENXIO;
	end = sys_seek_hole(fd, (uint64_t)start);
	if (end == -ENXIO || end > (int64_t)size)
		end = (int64_t)size;
	if (end < 0)
		return end;
	decide(scan, page_of((uint64_t)start), false);
	decide(scan, pages_up((uint64_t)end), true);
	scan->nr_data += pages_up((uint64_t)end) - page_of((uint64_t)start);
	return end;
}

static int scan_data(struct scan *scan, uint64_t size)
{
	int64_t pos = 0;

	do	/* of an empty file too: does it know of holes at all? */
		pos = scan_run(scan, (uint64_t)pos, size);
	while (pos >= 0 && (uint64_t)pos < size);
	if (pos == -EINVAL || pos == -EOPNOTSUPP) {
		scan->sf->all_data = true;
		decide(scan, pages_up(size), true);
		pos = 0;
	}
	if (pos < 0 && pos != -ENXIO)
		return sys_failed(scan->sf, (int)pos, "look for its holes");
	decide(scan, window_pages(scan->sf), false);
	return 0;
}

static void scanned(struct scan *scan, const struct sys_file_info *info)
{
	WRITE_ONCE(scan->sf->set_aside,
		   info->allocated > scan->nr_data << DAX_PAGE_SHIFT);
	set_stamp(scan->sf, info->ctime_ns, scan->time);
}

/* The times are taken first: what changes during the walk is seen after it. */
int sparse_file_scan(struct sparse_file *sf, uint64_t size)
{
	struct scan scan = { .sf = sf, .time = sys_clock_real_ns() };
	struct sys_file_info info;
	int ret = file_info(sf, &info);

	if (!ret)
		ret = scan_data(&scan, size);
	if (!ret)
		scanned(&scan, &info);
	return ret;
}

static int follow_size(struct dax_mapping *mapping, const struct sys_file_info *info)
{
	int ret = check_window(to_sparse(mapping), info->size);

	return ret ? ret : mapping_follow_size(mapping, (dax_loff_t)info->size);
}

static int look_over(struct dax_mapping *mapping, void *unused)
{
	struct scan scan = {
		.sf = to_sparse(mapping), .mapping = mapping, .time = sys_clock_real_ns(),
	};
	struct sys_file_info info;
	int ret = file_info(scan.sf, &info);

	(void)unused;
	if (!ret)
		ret = follow_size(mapping, &info);
	if (!ret)
		ret = scan_data(&scan, info.size);
	if (!ret)
		scanned(&scan, &info);
	return ret;
}

/* The size alone.  What is behind it is no data, also when the file grows again. */
static int look_at_size(struct dax_mapping *mapping, void *unused)
{
	struct sparse_file *sf = to_sparse(mapping);
	struct sys_file_info info;
	dax_pgoff_t end;
	int ret = file_info(sf, &info);

	(void)unused;
	if (!ret)
		ret = follow_size(mapping, &info);
	if (ret)
		return ret;
	end = pages_up(info.size);
	if (end < window_pages(sf))
		page_set_assign(&sf->data, end, window_pages(sf) - 1, false);
	if (sf->all_data && end)
		page_set_assign(&sf->data, 0, end - 1, true);
	return 0;
}

/* ---- looking at holes ---------------------------------------------------------------- */

static void add_data(struct sparse_file *sf, dax_pgoff_t first, dax_pgoff_t last)
{
	mutex_lock(&sf->lock);
	page_set_add(&sf->data, first, last);
	mutex_unlock(&sf->lock);
}

/* What mappings show of holes goes: they are data.  As show_window(). */
static int found_data(struct dax_mapping *mapping, dax_pgoff_t first,
		      dax_pgoff_t last)
{
	struct percpu_area *area;
	int ret = mapping_lock_shared(mapping, &area);

	if (ret)
		return ret;
	add_data(to_sparse(mapping), first, last);
	smp_mb();
	invalidate_pages_range(mapping, area, first, last, true, 0);
	mapping_unlock_shared(mapping, area);
	return 0;
}

/* Pages known as holes: all data that begins there is found, as far as it goes. */
static int check_hole(struct dax_mapping *mapping, dax_pgoff_t first,
		      dax_pgoff_t last)
{
	struct sparse_file *sf = to_sparse(mapping);
	int ret = 0;

	while (!ret && first <= last) {
		int64_t start = sys_seek_data(sf->dev->fd, first << DAX_PAGE_SHIFT), end;

		if (start == -ENXIO || (start >= 0 && page_of((uint64_t)start) > last))
			return 0;
		end = start < 0 ? start : sys_seek_hole(sf->dev->fd, (uint64_t)start);
		if (end == -ENXIO)	/* cut off meanwhile */
			return 0;
		if (end < 0)
			return sys_failed(sf, (int)end, "look at its holes");
		first = pages_up((uint64_t)end);
		if (first > window_pages(sf))
			first = window_pages(sf);
		ret = found_data(mapping, page_of((uint64_t)start), first - 1);
	}
	return ret;
}

/* 2 MiB of hole may be shown for the sake of one page. */
static void widen_to_pmd(const struct sparse_file *sf, dax_pgoff_t *page, bool up)
{
	dax_pgoff_t base = *page & ~(dax_pgoff_t)(DAX_PMD_NR_PAGES - 1);
	dax_pgoff_t last = base + DAX_PMD_NR_PAGES - 1;
	uint64_t run;

	if (last < window_pages(sf) &&
	    !page_set_run(&sf->data, base, last, &run) && run == DAX_PMD_NR_PAGES)
		*page = up ? last : base;
}

/* Somebody is about to be shown [pos, pos + len): are its holes still holes? */
static int check_holes(struct dax_mapping *mapping, uint64_t pos, uint64_t len)
{
	struct sparse_file *sf = to_sparse(mapping);
	uint64_t size = (uint64_t)i_size_read(mapping), run;
	dax_pgoff_t page = page_of(pos), last;
	int ret = 0;

	if (!len || pos >= size || sf->all_data)
		return 0;
	last = page_of(pos + (len < size - pos ? len : size - pos) - 1);
	widen_to_pmd(sf, &page, false);
	widen_to_pmd(sf, &last, true);
	for (; !ret && page <= last; page += run)
		if (!page_set_run(&sf->data, page, last, &run))
			ret = check_hole(mapping, page, page + run - 1);
	return ret;
}

/* write(2) to the file out of its own mapping: nothing can be asked meanwhile. */
static bool toucher_has_lock(const struct sparse_file *sf)
{
	return fault_toucher_is_in(sf->st_dev, sf->st_ino);
}

/* The window shows what there is, be it a hole's zeroes. */
static int take_for_data(struct dax_mapping *mapping, uint64_t pos, uint64_t len)
{
	uint64_t size = (uint64_t)i_size_read(mapping);

	if (!len || pos >= size)
		return 0;
	if (len > size - pos)
		len = size - pos;
	return found_data(mapping, page_of(pos), page_of(pos + len - 1));
}

/* ---- the hook --------------------------------------------------------------------------- */

static int look_over_timed(struct dax_mapping *mapping)
{
	struct sparse_file *sf = to_sparse(mapping);
	uint64_t start = sys_clock_ns(), end;
	int ret = mapping_run_alone(mapping, look_over, NULL);

	end = sys_clock_ns();
	WRITE_ONCE(sf->look_cost, end - start);
	WRITE_ONCE(sf->looked, end);
	return ret;
}

/* It was changed, perhaps. */
static __attribute__((noinline)) int
catch_up(struct dax_mapping *mapping, const struct sys_file_info *info,
	 dax_loff_t pos, uint64_t len)
{
	struct sparse_file *sf = to_sparse(mapping);
	int ret = 0;

	if (unlikely(toucher_has_lock(sf)))
		return take_for_data(mapping, (uint64_t)pos, len);
	if (shall_look_over(sf, info))
		return look_over_timed(mapping);
	if ((dax_loff_t)info->size != i_size_read(mapping) && !READ_ONCE(sf->resizing))
		ret = mapping_run_alone(mapping, look_at_size, NULL);
	return ret ? ret : check_holes(mapping, (uint64_t)pos, len);
}

/* In a forked child the lock of the call says what is wrong. */
static int sparse_verify(struct dax_mapping *mapping, dax_loff_t pos, uint64_t len)
{
	struct sparse_file *sf = to_sparse(mapping);
	struct sys_file_info info;
	int ret;

	if (sf->dev->fork_generation != sys_fork_generation)
		return 0;
	ret = file_info(sf, &info);
	if (ret || likely(is_known(mapping, &info)))
		return ret;
	return catch_up(mapping, &info, pos, len);
}

/* ---- answering ---------------------------------------------------------------------- */

static inline void fill_iomap(struct dax_iomap *iomap, dax_pgoff_t page,
			      uint64_t run, bool data)
{
	iomap->offset = (dax_loff_t)(page << DAX_PAGE_SHIFT);
	iomap->addr = page << DAX_PAGE_SHIFT;
	iomap->length = run << DAX_PAGE_SHIFT;
	iomap->type = data ? DAX_IOMAP_MAPPED : DAX_IOMAP_HOLE;
}

static void look_up(const struct sparse_file *sf, dax_pgoff_t page,
		    dax_pgoff_t last, struct dax_iomap *iomap)
{
	uint64_t run;
	bool data = page_set_run(&sf->data, page, last, &run);

	fill_iomap(iomap, page, run, data);
}

/* What the file system says of @page and the following at this moment. */
static int ask_file(const struct sparse_file *sf, dax_pgoff_t page,
		    dax_pgoff_t last, struct dax_iomap *iomap)
{
	int64_t at = sys_seek_data(sf->dev->fd, page << DAX_PAGE_SHIFT);
	dax_pgoff_t end = last + 1;
	bool data = false;

	if (at >= 0 && page_of((uint64_t)at) == page) {
		data = true;
		at = sys_seek_hole(sf->dev->fd, (uint64_t)at);
		if (at >= 0)
			end = pages_up((uint64_t)at);
	} else if (at >= 0) {
		end = page_of((uint64_t)at);
	}
	if (at < 0 && at != -ENXIO)
		return sys_failed(sf, (int)at, "look for its holes");
	fill_iomap(iomap, page, (end <= last ? end : last + 1) - page, data);
	return 0;
}

/* A hole that is reported: are blocks set aside for it? */
static int report_hole(const struct sparse_file *sf, struct dax_iomap *iomap)
{
	uint64_t pos = (uint64_t)iomap->offset, start, end;
	int ret = sys_fiemap(sf->dev->fd, pos, iomap->length, &start, &end);

	if (ret == -EOPNOTSUPP || ret == 0)
		return 0;
	if (ret < 0)
		return sys_failed(sf, ret, "ask for its extents");
	if (page_of(start) > page_of(pos)) {
		if (start < pos + iomap->length)
			iomap->length = (start & ~(uint64_t)(DAX_PAGE_SIZE - 1)) - pos;
		return 0;
	}
	iomap->type = DAX_IOMAP_UNWRITTEN;
	end = pages_up(end) << DAX_PAGE_SHIFT;
	if (end < pos + iomap->length)
		iomap->length = end - pos;
	return 0;
}

/* Blocks that pages were given ahead of a store are theirs, and no hole, though
 * nothing is in them yet. */
static void report_given(const struct sparse_file *sf, dax_pgoff_t page,
			 struct dax_iomap *iomap)
{
	uint64_t run, nr = iomap->length >> DAX_PAGE_SHIFT;

	if (page_set_run(&sf->data, page, page + nr - 1, &run))
		fill_iomap(iomap, page, run, true);
	else
		iomap->length = run << DAX_PAGE_SHIFT;
}

static int report(const struct sparse_file *sf, dax_pgoff_t page, dax_pgoff_t last,
		  struct dax_iomap *iomap)
{
	int ret = 0;

	if (sf->all_data)
		look_up(sf, page, last, iomap);
	else
		ret = ask_file(sf, page, last, iomap);
	if (ret || iomap->type != DAX_IOMAP_HOLE)
		return ret;
	ret = report_hole(sf, iomap);
	if (!ret && (iomap->type == DAX_IOMAP_UNWRITTEN || mapping_has_ahead(sf->mapping)))
		report_given(sf, page, iomap);
	return ret;
}

/* ---- taking blocks -------------------------------------------------------------------- */

/* The medium refused a touch: why?  0: it has room by now. */
static __cold int why_refused(const struct sparse_file *sf, dax_pgoff_t page)
{
	uint64_t pos = page << DAX_PAGE_SHIFT;
	struct sys_file_info info;
	int ret = file_info(sf, &info);

	if (ret)
		return ret;
	if (pos >= info.size)
		return dax_error(-EIO, "%s: somebody truncated the file to %" PRIu64
				 " bytes", sf->dev->path, info.size);
	ret = toucher_has_lock(sf) ? -EDEADLK :
	      sys_allocate_keep_size(sf->dev->fd, pos, DAX_PAGE_SIZE);
	if (ret == -EOPNOTSUPP)
		ret = -EIO;
	return ret ? dax_error(ret, "%s: cannot take a block for byte %" PRIu64 ": %s",
			       sf->dev->path, pos, strerror(-ret)) : 0;
}

static int touch_page(const struct sparse_file *sf, dax_pgoff_t page)
{
	char *kaddr = sf->dev->window + (page << DAX_PAGE_SHIFT);
	int ret = touch_mc(kaddr);

	if (likely(!ret))
		return 0;
	ret = why_refused(sf, page);
	return ret ? ret : touch_mc(kaddr);
}

/* Let pages have blocks that take a store; as many as could be had, or -errno. */
static int64_t touch_pages(struct sparse_file *sf, dax_pgoff_t page, uint64_t nr)
{
	uint64_t done = 0;
	int ret = 0;

	while (done < nr && !ret) {
		ret = touch_page(sf, page + done);
		done += !ret;
	}
	if (done)
		add_data(sf, page, page + done - 1);
	return done ? (int64_t)done : ret;
}

/*
 * Something is about to be stored.  A fault by 2 MiB is answered as things are:
 * data is shown whole, but a hole is not filled with 2 MiB for the sake of one
 * store; the fault falls back and takes a page.
 */
static int begin_write(struct sparse_file *sf, dax_pgoff_t page,
		       dax_pgoff_t last, unsigned int flags,
		       struct dax_iomap *iomap)
{
	int64_t nr;
	bool hole;
	int ret = device_prepare_store(sf->dev, 0, 0);

	if (ret)
		return ret;
	look_up(sf, page, last, iomap);
	hole = iomap->type == DAX_IOMAP_HOLE;
	if (flags & DAX_IOMAP_FAULT && page != last) {
		if (hole || sf->small_blocks)
			iomap->length = DAX_PAGE_SIZE;
		return 0;
	}
	nr = (int64_t)(iomap->length >> DAX_PAGE_SHIFT);
	nr = touch_pages(sf, page, nr < TOUCH_PAGES ? (uint64_t)nr : TOUCH_PAGES);
	if (nr < 0)
		return (int)nr;
	fill_iomap(iomap, page, (uint64_t)nr, true);
	if (hole) {
		iomap->flags |= DAX_IOMAP_F_NEW;
		WRITE_ONCE(sf->dirty, true);
	}
	return 0;
}

/*
 * How many of @nr pages, holes, have no block set aside for them: such blocks
 * are not to be punched.  Where the file system does not tell, none that lies in
 * a file that may have any.
 */
static uint64_t without_blocks(struct sparse_file *sf, dax_pgoff_t page,
			       uint64_t nr)
{
	uint64_t start = 0, end = 0;
	int ret = sys_fiemap(sf->dev->fd, page << DAX_PAGE_SHIFT, nr << DAX_PAGE_SHIFT,
			     &start, &end);

	if (ret == -EOPNOTSUPP) {
		WRITE_ONCE(sf->no_fiemap, true);
		return READ_ONCE(sf->set_aside) ? 0 : nr;
	}
	if (ret < 0)
		return 0;
	if (ret && page_of(start) < page + nr)
		nr = page_of(start) > page ? page_of(start) - page : 0;
	return nr;
}

/* Blocks for @nr holes by one call; they are touched by who stores to them, where
 * the kernel takes large pages, which the window does not.  Where nothing tells
 * such blocks from holes the first page is touched here.  What a failure leaves
 * set aside is still a hole; nothing is punched, since another program may have
 * stored there meanwhile. */
static int set_blocks_aside(struct sparse_file *sf, dax_pgoff_t page, uint64_t nr)
{
	uint64_t pos = page << DAX_PAGE_SHIFT, len = nr << DAX_PAGE_SHIFT;
	int ret = sys_allocate_keep_size(sf->dev->fd, pos, len);

	if (!ret && READ_ONCE(sf->no_fiemap))
		ret = touch_page(sf, page);
	if (!ret)
		add_data(sf, page, page + nr - 1);
	return ret;
}

/* A store to @page alone; if that is a hole the holes that follow it may have
 * blocks, too.  What there is no room for is the page's own affair. */
static int begin_ahead(struct sparse_file *sf, dax_pgoff_t page,
		       dax_pgoff_t last, struct dax_iomap *iomap)
{
	uint64_t nr = 0;
	int ret = device_prepare_store(sf->dev, 0, 0);

	if (ret)
		return ret;
	look_up(sf, page, last, iomap);
	if (iomap->type == DAX_IOMAP_HOLE && !READ_ONCE(sf->no_punch) &&
	    !toucher_has_lock(sf))
		nr = without_blocks(sf, page, iomap->length >> DAX_PAGE_SHIFT);
	if (nr < 2 || set_blocks_aside(sf, page, nr))
		return begin_write(sf, page, page, DAX_IOMAP_FAULT, iomap);
	fill_iomap(iomap, page, nr, true);
	iomap->flags |= DAX_IOMAP_F_NEW | DAX_IOMAP_F_AHEAD;
	WRITE_ONCE(sf->dirty, true);
	return 0;
}

static __attribute__((noinline)) int
begin_slow(struct sparse_file *sf, dax_pgoff_t page, dax_pgoff_t last,
	   unsigned int flags, struct dax_iomap *iomap)
{
	int ret = 0;

	if (last >= window_pages(sf))
		last = window_pages(sf) - 1;
	if (page > last)
		return dax_error(-EFBIG, "%s: page %" PRIu64 " is beyond the window",
				 sf->dev->path, page);
	if (flags & DAX_IOMAP_AHEAD) {
		ret = begin_ahead(sf, page, last, iomap);
	} else if (flags & DAX_IOMAP_WRITE) {
		ret = begin_write(sf, page, last, flags, iomap);
	} else if (flags & DAX_IOMAP_REPORT) {
		ret = report(sf, page, last, iomap);
	} else {
		look_up(sf, page, last, iomap);
	}
	if (iomap->type != DAX_IOMAP_HOLE && READ_ONCE(sf->dirty))
		iomap->flags |= DAX_IOMAP_F_DIRTY;
	return ret;
}

static int sparse_begin(struct dax_mapping *mapping, void *private_data,
			dax_loff_t pos, uint64_t length, unsigned int flags,
			struct dax_iomap *iomap)
{
	struct sparse_file *sf = private_data;
	dax_pgoff_t page = page_of((uint64_t)pos);
	dax_pgoff_t last = page_of((uint64_t)pos + length - 1);
	bool data;

	(void)mapping;
	if (unlikely(page != last || flags & ~(unsigned int)DAX_IOMAP_FAULT ||
		     page >= window_pages(sf)))
		return begin_slow(sf, page, last, flags, iomap);
	data = page_set_test(&sf->data, page);
	fill_iomap(iomap, page, 1, data);
	if (data && READ_ONCE(sf->dirty))
		iomap->flags |= DAX_IOMAP_F_DIRTY;
	return 0;
}

/* ---- bytes, without the window ------------------------------------------------------------ */

static ssize_t sparse_read(struct dax_mapping *mapping, void *buf, size_t len,
			   dax_loff_t pos)
{
	struct sparse_file *sf = to_sparse(mapping);
	int64_t ret = direct_access(sf->dev, 0, 1, NULL, NULL);	/* is it alive? */

	if (ret < 0)
		return ret;
	ret = sys_pread(sf->dev->fd, buf, len, (uint64_t)pos);
	if (ret == 0)
		return dax_error(-EIO, "%s: somebody truncated the file below byte %"
				 PRId64, sf->dev->path, pos);
	return ret < 0 ? sys_failed(sf, (int)ret, "read it") : ret;
}

/*
 * What mappings show of holes that are about to get blocks goes first, so that
 * nobody sees old after new.  The pages are data before they have blocks: who
 * comes in between is shown the window, where the bytes are going to be.  The
 * tree is asked although all pages are data already: a fault that took a block
 * may not have come to its zero page yet, or have failed before that.
 */
static int show_window(struct dax_mapping *mapping, dax_pgoff_t first,
		       dax_pgoff_t last)
{
	struct sparse_file *sf = to_sparse(mapping);
	struct percpu_area *area;
	uint64_t run;
	int ret = mapping_lock_shared_nested(mapping, &area);

	if (ret)
		return ret;
	if (!page_set_run(&sf->data, first, last, &run) || run <= last - first)
		add_data(sf, first, last);
	smp_mb();	/* as invalidate_stale() in rw.c */
	invalidate_pages_range(mapping, area, first, last, true, 0);
	ret = merge_stores(mapping, first, last, sf->dev->pfn_base + first);
	mapping_unlock_shared(mapping, area);
	return ret;
}

/* pwrite(2) and the window show the same pages of the kernel. */
static ssize_t sparse_write(struct dax_mapping *mapping, const void *buf,
			    size_t len, dax_loff_t pos)
{
	struct sparse_file *sf = to_sparse(mapping);
	int64_t done;
	int ret = device_prepare_store(sf->dev, 0, 0);

	if (!ret)
		ret = check_window(sf, (uint64_t)pos + len);
	if (ret)
		return ret;
	atomic_fetch_add(&sf->resizing, 1);
	ret = show_window(mapping, page_of((uint64_t)pos),
			  page_of((uint64_t)pos + len - 1));
	done = ret ? ret : sys_pwrite(sf->dev->fd, buf, len, (uint64_t)pos);
	if (done > 0)	/* to be stored again if a sync of it fails */
		sf->dev->persist->flush(sf->dev, sf->dev->window + pos, (size_t)done);
	WRITE_ONCE(sf->dirty, true);
	atomic_fetch_sub(&sf->resizing, 1);
	if (done < (int64_t)len)	/* some of the holes may still be holes */
		forget_stamp(sf);
	return done < 0 && !ret ? sys_failed(sf, (int)done, "write to it") : done;
}

/* ---- changing blocks (alone) ----------------------------------------------------------------- */

/* What a change left behind: page states that follow, or another look. */
static int changed(struct sparse_file *sf, int err, const char *what)
{
	WRITE_ONCE(sf->dirty, true);
	if (!err)
		return 0;
	forget_stamp(sf);
	return sys_failed(sf, err, what);
}

/* The kernel zeroes the parts of pages at the edges, too. */
static int sparse_punch(struct dax_mapping *mapping, void *private_data,
			dax_loff_t pos, uint64_t len)
{
	struct sparse_file *sf = private_data;
	dax_pgoff_t first = pages_up((uint64_t)pos);
	dax_pgoff_t end = page_of((uint64_t)pos + len);
	int ret = sys_punch(sf->dev->fd, (uint64_t)pos, len);

	(void)mapping;
	if (end > window_pages(sf))
		end = window_pages(sf);
	if (ret == -EOPNOTSUPP)
		WRITE_ONCE(sf->no_punch, true);
	if (!ret && !sf->all_data && first < end)
		page_set_assign(&sf->data, first, end - 1, false);
	return changed(sf, ret, "punch a hole into it (its file system may have none)");
}

static int sparse_truncate(struct dax_mapping *mapping, void *private_data,
			   dax_loff_t size)
{
	struct sparse_file *sf = private_data;
	dax_pgoff_t end = pages_up((uint64_t)size);
	int ret = check_window(sf, (uint64_t)size);

	(void)mapping;
	if (ret)
		return ret;
	atomic_fetch_add(&sf->resizing, 1);
	ret = sys_truncate(sf->dev->fd, (uint64_t)size);
	if (!ret && end < window_pages(sf))
		page_set_assign(&sf->data, end, window_pages(sf) - 1, false);
	if (!ret && sf->all_data && end)
		page_set_assign(&sf->data, 0, end - 1, true);
	atomic_fetch_sub(&sf->resizing, 1);
	return changed(sf, ret, "change its size");
}

static int sparse_fallocate(struct dax_mapping *mapping, void *private_data,
			    dax_loff_t pos, uint64_t len)
{
	struct sparse_file *sf = private_data;
	uint64_t end = (uint64_t)pos + len;
	int ret = check_window(sf, end);

	(void)mapping;
	if (ret)
		return ret;
	atomic_fetch_add(&sf->resizing, 1);
	WRITE_ONCE(sf->set_aside, true);
	ret = sys_allocate(sf->dev->fd, (uint64_t)pos, len);
	if (!ret && sf->all_data)
		page_set_assign(&sf->data, 0, page_of(end - 1), true);
	atomic_fetch_sub(&sf->resizing, 1);
	return changed(sf, ret, "set blocks aside for it");
}

static int sparse_sync(struct dax_mapping *mapping, void *private_data)
{
	struct sparse_file *sf = private_data;
	bool was = atomic_exchange(&sf->dirty, false);
	int ret = sys_fdatasync(sf->dev->fd);

	(void)mapping;
	if (!ret)
		return 0;
	if (was)
		WRITE_ONCE(sf->dirty, true);
	return sys_failed(sf, ret, "sync it");
}

uint64_t sparse_file_bytes(const struct sparse_file *sf)
{
	return sizeof(*sf) + page_set_bytes(&sf->data);
}

uint64_t sparse_file_allocated(const struct sparse_file *sf)
{
	struct sys_file_info info;

	return sys_file_info(sf->dev->fd, &info) ? 0 : info.allocated;
}

const struct dax_iomap_ops sparse_file_ops = {
	.struct_size = sizeof(struct dax_iomap_ops),
	.iomap_begin = sparse_begin,
	.fallocate = sparse_fallocate,
	.punch = sparse_punch,
	.truncate = sparse_truncate,
	.sync = sparse_sync,
	.free = sparse_file_free,
};

const struct mapping_hooks sparse_file_hooks = {
	.verify = sparse_verify,
	.read = sparse_read,
	.write = sparse_write,
};
