// SPDX-License-Identifier: Apache-2.0

public class Hello {
    public static void main(String[] arguments) {
        System.out.println("hello from java");
    }
}
