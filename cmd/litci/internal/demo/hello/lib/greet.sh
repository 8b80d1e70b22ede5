# greet NAME LANGUAGE prints a greeting.
greet() {
	case "$2" in
		en) printf 'Hello, %s!\n' "$1" ;;
		de) printf 'Hallo, %s!\n' "$1" ;;
		cs) printf 'Ahoj, %s!\n' "$1" ;;
		*) printf 'greet: language %s is not known\n' "$2" >&2; return 1 ;;
	esac
}
