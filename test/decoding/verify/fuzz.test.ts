import { referenceRowMath } from "../../../src/backend/reference/row-math.ts";
import { testAnyRequest } from "./fuzz.case.ts";

testAnyRequest(referenceRowMath, 3000);
