// SPDX-License-Identifier: Apache-2.0

fn main() {
    println!("hello from rustc");
}
