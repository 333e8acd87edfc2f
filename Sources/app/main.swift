print("whitebox")
