import { referenceRowMath } from "../../../src/decoding/verify/row-math.ts";
import { testRowMath } from "./row-math.case.ts";

testRowMath(referenceRowMath);
