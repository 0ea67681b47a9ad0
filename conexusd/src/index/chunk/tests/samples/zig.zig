const std = @import("std");
const util = @import("util.zig").helpers;

pub const MAX: u32 = 3;

/// A point.
pub const Point = struct {
    x: i32,
    const Self = @This();

    pub fn init(x: i32) Self {
        return .{ .x = x };
    }
};

const Color = enum { red, green };

pub fn main() !void {
    const local = 1;
    _ = local;
}

fn List(comptime T: type) type {
    return struct {
        pub fn get(self: @This()) T {
            return self.item;
        }
    };
}

test "points start at zero" {
    try std.testing.expect(true);
}

var global: i32 = 1;
const Failure = error{ Closed, Full };
